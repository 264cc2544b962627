"""Check a table against the schema: what is accepted, what is refused, and why."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perdure.reading import values
from perdure.tasks.tables.columns import CategoryColumn
from perdure.tasks.tables.definition import ClassTarget, Label, Schema, ValueTarget
from perdure.tasks.tables.rules import (
    Finding,
    Kind,
    broken_rules,
    canonical,
    few_rows,
    known_classes,
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
        notes: What a person should know of a file that is not refused: columns left out, words
            that the schema does not list, new classes.
        aside: Those of the refused rows that break no rule, but whose class is new and has too
            few rows, in canonical form.
        offered: The rows of `accepted` and `aside`, in the file's order.
        new: The classes in `accepted` that the schema does not list.
    """

    accepted: pd.DataFrame
    refused: pd.DataFrame
    bad_rows: pd.DataFrame
    whole: tuple[str, ...]
    summary: tuple[str, ...]
    rows: int
    notes: tuple[str, ...]
    aside: pd.DataFrame
    offered: pd.DataFrame
    new: tuple[Label, ...]

    @property
    def refused_rows(self) -> int:
        """How many rows were refused; all, where the file is refused whole."""
        return self.rows if self.whole else len(self.bad_rows)


def check(
    frame: pd.DataFrame,
    schema: Schema,
    min_rows: int = 1,
    known: Collection[Label] = (),
    gathered: Mapping[Label, int] | None = None,
) -> Checked:
    """Check a table, as `read_table` gives it.

    Args:
        frame: The table.
        schema: What it must be.
        min_rows: With fewer accepted rows the file is refused whole (`data.min_rows`).
        known: Classes that the schema does not list, but that earlier experiences have.
        gathered: Of other classes, how many rows of earlier files are set aside.
    """
    import pandas as pd

    kinds: dict[str, Kind] = {**schema.columns, schema.target.name: schema.target}
    whole = list(_columns_differ([str(name) for name in frame.columns], kinds, schema))
    if whole or frame.empty:
        whole = whole or ["the table has no rows"]
        none = _none(frame)
        return Checked(
            none, _table([]), frame.iloc[:0], tuple(whole), (), len(frame), (), none, none, ()
        )

    converted: dict[str, pd.Series[Any]] = {}
    findings: list[Finding] = []
    for name, kind in kinds.items():
        classes = tuple(known) if kind is schema.target else ()
        converted[name], wrong = canonical(frame[name], kind, classes)
        findings += wrong_types(frame[name], name, kind, wrong)
    typed = pd.DataFrame(converted, index=frame.index)
    findings += broken_rules(frame, typed, kinds, {(f.row, f.column) for f in findings})
    good = ~frame.index.isin([finding.row for finding in findings])
    new = _NewClasses(typed[good], schema.target, known, gathered or {})
    findings += new.findings(frame)
    place = {name: i for i, name in enumerate(kinds)}
    findings.sort(key=lambda finding: (finding.row, place[finding.column]))

    bad = frame.index.isin([finding.row for finding in findings])
    whole += _too_bad(int(bad.sum()), len(frame), schema, min_rows)
    accepted = _canonical(typed[~bad], schema)
    return Checked(
        accepted=_none(accepted) if whole else accepted,
        refused=_table(findings),
        bad_rows=_shown(frame[bad]),
        whole=tuple(whole),
        summary=_summary(findings),
        rows=len(frame),
        notes=() if whole else (*_left_out(frame, kinds), *_unseen(accepted, schema), *new.notes()),
        aside=_canonical(typed[good & bad], schema),
        offered=_canonical(typed[good], schema),
        new=new.let_in,
    )


def _canonical(typed: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Rows that break no rule, with the labels in the type of the classes."""
    rows = typed.reset_index(drop=True)
    if isinstance(schema.target, ClassTarget):
        name = schema.target.name
        rows[name] = labels_typed(rows[name], schema.target)
    return rows


class _NewClasses:
    """The classes of a file's good rows that the schema does not list.

    Attributes:
        let_in: Those that are let in, sorted: they are known, or have enough rows.
        few: The others, with the rows of each in the file.
    """

    def __init__(
        self,
        good: pd.DataFrame,
        target: ClassTarget | ValueTarget,
        known: Collection[Label],
        gathered: Mapping[Label, int],
    ) -> None:
        self.target, self.known, self.gathered = target, frozenset(known), gathered
        self.let_in: tuple[Label, ...] = ()
        self.counts: dict[Label, int] = {}
        self.few: dict[Label, int] = {}
        if not isinstance(target, ClassTarget) or target.new_classes == "refuse":
            return
        self.labels = good[target.name]
        counted = Counter(self.labels.tolist())
        unlisted = {label: n for label, n in counted.items() if label not in target.classes}
        self.counts = dict(sorted(unlisted.items()))
        self.few = {
            label: rows
            for label, rows in self.counts.items()
            if label not in self.known and rows + gathered.get(label, 0) < target.min_class_rows
        }
        self.let_in = tuple(label for label in self.counts if label not in self.few)

    def findings(self, frame: pd.DataFrame) -> Iterator[Finding]:
        """One for each row of a class that has too few."""
        if not self.few or not isinstance(self.target, ClassTarget):
            return
        rows = self.labels[self.labels.isin(list(self.few))]
        texts = values.as_text(frame.loc[rows.index, self.target.name])
        known = known_classes(self.target, self.known)
        yield from few_rows(rows, texts, self.target.name, self.target, known)

    def notes(self) -> Iterator[str]:
        """What becomes of each new class."""
        for label in self.let_in:
            if label not in self.known:
                more = self.gathered.get(label, 0)
                joined = f", with {_rows(more)} set aside from earlier files" if more else ""
                yield f"new class {label!r}: {_rows(self.counts[label])}{joined}, let in"
        for label, rows in self.few.items():
            assert isinstance(self.target, ClassTarget)
            total = rows + self.gathered.get(label, 0)
            yield (
                f"class {label!r} is set aside: {_rows(total)} gathered so far; "
                f"it comes in at target.min_class_rows = {self.target.min_class_rows}, or with "
                "perdure schema --accept FILE"
            )


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"


def _left_out(frame: pd.DataFrame, kinds: Mapping[str, Kind]) -> Iterator[str]:
    for name in map(str, frame.columns):
        if name not in kinds:
            yield (
                f"left out: column {name!r}, which the schema does not list "
                "(perdure schema --diff FILE)"
            )


def _unseen(accepted: pd.DataFrame, schema: Schema) -> Iterator[str]:
    """How many rows have words that the list of a category column does not have."""
    for name, column in schema.columns.items():
        if not isinstance(column, CategoryColumn) or column.buckets:
            continue
        words = Counter(accepted[name].tolist())
        del words[None]
        unseen = [(word, n) for word, n in words.most_common() if word not in column.categories]
        count = sum(n for _, n in unseen)
        if not count:
            continue
        few = ", ".join(repr(word) for word, _ in unseen[:3]) + (" …" if len(unseen) > 3 else "")
        if count == words.total():
            yield (
                f"column {name!r}: none of its words is in the schema's list ({few}); the model "
                "sees them all alike, as unseen, and learns nothing from the column"
            )
        else:
            yield (
                f"column {name!r}: {count} of {len(accepted)} rows have words that the schema "
                f"does not list ({few}); the model sees them all alike, as unseen"
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
    if missing and extra and schema.extra_columns == "ignore":
        yield f"columns that the schema does not list: {', '.join(map(repr, extra))}"
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
    elif bad == rows:
        yield "no row is accepted"
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
