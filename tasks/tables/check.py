"""Check a table against the schema: what is accepted, what is refused, and why."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perdure.tasks.tables import values
from perdure.tasks.tables.model import ClassTarget, Schema
from perdure.tasks.tables.rules import (
    Finding,
    Kind,
    broken_rules,
    canonical,
    labels_typed,
    wrong_types,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Checked:
    """What a check found.

    Attributes:
        accepted: The accepted rows in canonical form, the schema's columns in its order and
            the target last: numbers float64 (NaN for missing); categories, texts and ignored
            columns object, of str or None; images object, of bytes; sequences object, of
            float64 (items,) or None; labels int64, bool or object; index 0, 1, 2 …
            Empty where the file is refused whole.
        refused: One line per finding: `row` int64 (1 is the file's first), `column`, `value`
            as it stands in the file, `reason`.
        bad_rows: The refused rows as they stand in the file, index `row`.
        whole: Why the file is refused whole; empty: it is not.
        summary: The findings in short, one line per column and rule, the most frequent first.
        rows: Rows in the file.
    """

    accepted: pd.DataFrame
    refused: pd.DataFrame
    bad_rows: pd.DataFrame
    whole: tuple[str, ...]
    summary: tuple[str, ...]
    rows: int

    @property
    def refused_rows(self) -> int:
        """How many rows were refused; all, where the file is refused whole."""
        return self.rows if self.whole else len(self.bad_rows)


def check(frame: pd.DataFrame, schema: Schema, min_rows: int = 1) -> Checked:
    """Check a table, as `read_table` gives it.

    Args:
        frame: The table.
        schema: What it must be.
        min_rows: With fewer accepted rows the file is refused whole (`data.min_rows`).
    """
    import pandas as pd

    kinds: dict[str, Kind] = {**schema.columns, schema.target.name: schema.target}
    whole = list(_columns_differ([str(name) for name in frame.columns], kinds, schema))
    if whole or frame.empty:
        whole = whole or ["the table has no rows"]
        return Checked(_none(frame), _table([]), frame.iloc[:0], tuple(whole), (), len(frame))

    converted: dict[str, pd.Series[Any]] = {}
    findings: list[Finding] = []
    for name, kind in kinds.items():
        converted[name], wrong = canonical(frame[name], kind)
        findings += wrong_types(frame[name], name, kind, wrong)
    typed = pd.DataFrame(converted, index=frame.index)
    findings += broken_rules(frame, typed, kinds, {(f.row, f.column) for f in findings})
    place = {name: i for i, name in enumerate(kinds)}
    findings.sort(key=lambda finding: (finding.row, place[finding.column]))

    bad = frame.index.isin([finding.row for finding in findings])
    whole += _too_bad(int(bad.sum()), len(frame), schema, min_rows)
    accepted = typed[~bad].reset_index(drop=True)
    for name, kind in kinds.items():
        if isinstance(kind, ClassTarget):
            accepted[name] = labels_typed(accepted[name], kind)
    return Checked(
        accepted=_none(accepted) if whole else accepted,
        refused=_table(findings),
        bad_rows=_shown(frame[bad]),
        whole=tuple(whole),
        summary=_summary(findings),
        rows=len(frame),
    )


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows for a person to read: lists as text in full, where pandas would cut them short."""
    lists = [
        name
        for name in frame.columns
        if any(hasattr(value, "__len__") and not isinstance(value, str) for value in frame[name])
    ]
    return frame.assign(**{name: values.as_text(frame[name]) for name in lists})


def _none(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[:0].reset_index(drop=True)


def _columns_differ(found: list[str], kinds: dict[str, Kind], schema: Schema) -> Iterator[str]:
    missing = [name for name in kinds if name not in found]
    extra = [name for name in found if name not in kinds]
    for name in missing:
        near = difflib.get_close_matches(name, extra, n=1)
        yield f"missing column {name!r}" + (f" (is it {near[0]!r}?)" if near else "")
    if schema.extra_columns == "refuse":
        for name in extra:
            yield f"extra column {name!r}, which the schema does not list"
    for name, times in Counter(found).items():
        if times > 1:
            yield f"{times} columns are named {name!r}"


def _too_bad(bad: int, rows: int, schema: Schema, min_rows: int) -> Iterator[str]:
    if bad and schema.on_bad_row == "file":
        yield f'{bad} of {rows} rows are refused, and on_bad_row = "file"'
    elif bad / rows > schema.max_bad_share:
        yield (
            f"{bad} of {rows} rows are refused ({bad / rows:.0%}); "
            f"the most is max_bad_share = {schema.max_bad_share:.0%}"
        )
    elif rows - bad < min_rows:
        yield f"{rows - bad} rows are accepted; the least is data.min_rows = {min_rows}"


def _table(findings: list[Finding]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "row": pd.Series([f.row for f in findings], dtype="int64"),
            "column": pd.Series([f.column for f in findings], dtype=object),
            "value": pd.Series([f.value for f in findings], dtype=object),
            "reason": pd.Series([f.reason for f in findings], dtype=object),
        }
    )


def _summary(findings: list[Finding]) -> tuple[str, ...]:
    first: dict[tuple[str, str], Finding] = {}
    times: Counter[tuple[str, str]] = Counter()
    for finding in findings:
        key = (finding.column, finding.rule)
        first.setdefault(key, finding)
        times[key] += 1
    return tuple(
        f"row {first[key].row}: {first[key].reason}"
        + (f" (and {count - 1} more such)" if count > 1 else "")
        for key, count in times.most_common()
    )
