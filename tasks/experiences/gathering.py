"""Rows of new classes that are set aside until their class has enough of them.

The footers of the experiences say all: which classes of its file were set aside (`aside`), and
which rows of earlier files joined (`joined`). Rows wait where the experience of their file says
that they were set aside, and none says that they joined. So one file, written whole or not at all,
makes a class known and its rows joined; a command that is killed and run again finds either all of
it or nothing.

The rows themselves lie in the quarantine folder of their file, as `aside-<16 digits>.parquet`
after what the file offered, so a file that arrives twice has them once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure.config import Workspace
from perdure.errors import Corrupt
from perdure.records import Experience
from perdure.records.data import Aside, Joined, Label
from perdure.tasks.experiences.folder import facts_of, read_rows, write_rows

if TYPE_CHECKING:
    import pandas as pd


def write_aside(folder: Path, frame: pd.DataFrame, offered: str, form: str) -> None:
    """Write the rows of one file that are set aside into a folder of the quarantine.

    Args:
        folder: The folder.
        frame: The rows in canonical form.
        offered: SHA-256 of what the file offered.
        form: Of the schema: rows of another form never join.
    """
    write_rows(frame, folder / _name(offered), {"offered": offered, "form": form})


def gathered(ws: Workspace, known: Sequence[Experience], form: str) -> tuple[Aside, ...]:
    """The rows that are set aside and may join an experience, those of the earliest first.

    Args:
        ws: The workspace.
        known: Every experience.
        form: Of the schema as it is now.
    """
    joined = {(one.content, one.label) for e in known for one in e.joined}
    found: list[Aside] = []
    for experience in known:
        waiting = [one for one in experience.aside if (experience.brought, one[0]) not in joined]
        path = _rows_of(ws, experience.brought, form) if waiting else None
        if path is not None:
            found += [Aside(experience.brought, *one, path) for one in waiting]
    return tuple(found)


def counts(waiting: Iterable[Aside]) -> dict[Label, int]:
    """How many rows of each class are set aside."""
    found: dict[Label, int] = {}
    for one in waiting:
        found[one.label] = found.get(one.label, 0) + one.rows
    return found


def join(
    frame: pd.DataFrame, waiting: Iterable[Aside], labels: Collection[Label], target: str
) -> tuple[pd.DataFrame, tuple[Joined, ...]]:
    """Put rows that were set aside below those of an experience.

    Args:
        frame: The accepted rows of a file, in canonical form.
        waiting: What is set aside.
        labels: The classes whose rows join.
        target: The column of the classes.

    Returns:
        All rows, index 0, 1, 2 …, and what the added ones are, in their order.

    Raises:
        Corrupt: A file of rows cannot be read, or lacks some.
    """
    import pandas as pd

    parts, joined = [frame], []
    for one in waiting:
        if one.label not in labels:
            continue
        rows = _read(one, target)
        # A column that is ignored may have come later: there the value is missing.
        parts.append(pd.DataFrame({name: rows.get(name, _nothing(rows)) for name in frame.columns}))
        joined.append(Joined(one.content, one.label, len(rows)))
    if not joined:
        return frame, ()
    whole = pd.concat(parts, ignore_index=True)
    return whole.astype(dict(frame.dtypes)), tuple(joined)


def without(
    frame: pd.DataFrame, joined: Sequence[Joined], elsewhere: Collection[tuple[str, Label]]
) -> tuple[pd.DataFrame, tuple[Joined, ...]]:
    """Take rows out of an experience that have joined another one meanwhile.

    Args:
        frame: The rows of the experience.
        joined: What its last rows are.
        elsewhere: The content and the class of what has joined another experience.

    Returns:
        The rows that are left, and what its last rows are now.
    """
    keep = [True] * (len(frame) - sum(one.rows for one in joined))
    for one in joined:
        keep += [(one.content, one.label) not in elsewhere] * one.rows
    left = tuple(one for one in joined if (one.content, one.label) not in elsewhere)
    return frame[keep].reset_index(drop=True), left


def labels_of(known: Sequence[Experience]) -> set[Label]:
    """The classes that experiences have and the schema did not list, as far as they say."""
    return {label for e in known for label in e.classes or ()}


def labels_found(known: Sequence[Experience], target: str, wanted: Collection[Label]) -> set[Label]:
    """Which of some classes are in experiences that do not say: those of an older version.

    Reads their column of the target, until all of the classes are found.
    """
    found: set[Label] = set()
    for experience in known:
        if experience.classes is None and not found.issuperset(wanted):
            found |= set(_labels_in(experience.path, target)) & set(wanted)
    return found


def _labels_in(path: Path, target: str) -> Iterator[Label]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        yield from pq.read_table(path, columns=[target])[target].unique().to_pylist()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise Corrupt(
            f"{path} is damaged: {error}", hint="dvc checkout --force data.dvc"
        ) from error


def _nothing(rows: pd.DataFrame) -> pd.Series[Any]:
    import pandas as pd

    return pd.Series([None] * len(rows), index=rows.index, dtype=object)


def _name(offered: str) -> str:
    return f"aside-{offered[:16]}.parquet"


def _rows_of(ws: Workspace, offered: str, form: str) -> Path | None:
    """The file of rows; None: there is none, or its rows have another form than the schema."""
    for path in sorted(ws.quarantine.glob(f"*/{_name(offered)}")):
        try:
            facts = facts_of(path)
        except (OSError, ValueError, LookupError) as error:  # pyarrow's are of these
            raise Corrupt(
                f"{path} is damaged: {error}", hint="dvc checkout --force data.dvc"
            ) from error
        if (facts.get("offered"), facts.get("form")) == (offered, form):
            return path
    return None


def _read(one: Aside, target: str) -> pd.DataFrame:
    import pyarrow as pa

    try:
        frame = read_rows(one.path)
    except (pa.ArrowException, OSError) as error:
        raise Corrupt(
            f"{one.path} is damaged: {error}", hint="dvc checkout --force data.dvc"
        ) from error
    rows = frame[frame[target] == one.label]
    if len(rows) != one.rows:
        raise Corrupt(
            f"{one.path} has {len(rows)} rows of the class {one.label!r}, not {one.rows}",
            hint="dvc checkout --force data.dvc",
        )
    return rows
