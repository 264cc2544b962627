"""Rows that wait for more of their kind before they make an experience, or join one.

Two kinds wait. The accepted rows of a file that has too few to be an experience (`data.min_rows`)
lie in `waiting/`, one Parquet file each, named by their order of arrival. Rows of a new class that
has too few (`target.min_class_rows`) lie in the quarantine folder of their file, as
`aside-<16 digits>.parquet` after what the file offered.

One rule says what waits: rows wait until the footer of an experience names them, as one of its
files (`files`) or as rows that joined (`joined`). So one file, written whole or not at all, makes
an experience and ends the waiting of all that is in it; a command that is killed and run again
finds either all of it or nothing. A file that arrives twice has its rows once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure import atomic
from perdure.config import Workspace
from perdure.errors import Corrupt
from perdure.records import Experience
from perdure.records.data import Aside, Joined, Label, SourceFile, Waiting
from perdure.tasks.experiences import folder
from perdure.tasks.experiences.files import writing
from perdure.tasks.experiences.folder import Digest, facts_of, read_rows, write_rows

if TYPE_CHECKING:
    import pandas as pd


_MEND = "dvc checkout --force data.dvc"


def write_waiting(
    ws: Workspace,
    place: Path,
    number: int,
    frame: pd.DataFrame,
    sha256: str,
    file: SourceFile,
    form: str,
    classes: Sequence[Label],
) -> Path:
    """Write the accepted rows of a file that has too few of them.

    Args:
        ws: The workspace.
        place: The folder, such as `ws.waiting`.
        number: See `Waiting`, as for those that follow.
        frame: The rows in canonical form.
        sha256: Of them.
        file: Name, content and rows of the file.
        form: Of the schema.
        classes: Classes of the rows that the schema does not list.

    Raises:
        Fault: The disk is full or read-only.
    """
    facts = {
        "format": folder.FORMAT,
        "file": folder.file_facts(file),
        "sha256": sha256,
        "form": form,
        "classes": list(classes),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path = place / f"{folder.experience_id(number, file.content)}.parquet"
    with writing(ws, path) as part:
        write_rows(frame, part, facts)
    return path


def waiting_files(ws: Workspace, known: Sequence[Experience]) -> tuple[Waiting, ...]:
    """The files whose rows wait, in order of arrival; reads their footers only.

    Args:
        ws: The workspace.
        known: Every experience.

    Raises:
        Corrupt: A file is damaged or renamed.
    """
    inside = {content for e in known for content in e.contents}
    return tuple(one for one in files_in(ws.waiting) if one.file.content not in inside)


def files_in(place: Path) -> list[Waiting]:
    """The files in a folder of those that wait, in order of arrival."""
    found = []
    for path in folder.files_in(place):
        try:
            found.append(_waiting_of(path))
        except Corrupt:
            if path.exists():  # else it has joined just now
                raise
    return sorted(found, key=lambda one: (one.number, one.file.content))


def next_place(waiting: Iterable[Waiting]) -> int:
    """The number of the file that arrives next."""
    return max((one.number for one in waiting), default=0) + 1


def read_waiting(one: Waiting, digest: Digest) -> pd.DataFrame:
    """The rows of a file that waits.

    Raises:
        Corrupt: They are damaged.
    """
    frame = _rows_in(one.path)
    if digest(frame) != one.sha256:
        raise _damaged(one.path, "its rows are not those that were written")
    return frame


def clear_joined(ws: Workspace) -> None:
    """Remove the files of rows that are in an experience by now."""
    waiting = files_in(ws.waiting)
    if not waiting:  # no experience is read for it
        return
    inside = {content for e in folder.list_experiences(ws) for content in e.contents}
    gone = [one for one in waiting if one.file.content in inside]
    for one in gone:
        one.path.unlink(missing_ok=True)
    if gone:
        atomic.sync(ws.waiting)


def write_aside(folder: Path, frame: pd.DataFrame, offered: str, form: str) -> None:
    """Write the rows of one file that are set aside into a folder of the quarantine.

    Args:
        folder: The folder.
        frame: The rows in canonical form.
        offered: SHA-256 of what the file offered.
        form: Of the schema: rows of another form never join.
    """
    write_rows(frame, folder / _name(offered), {"offered": offered, "form": form})


def gathered(
    ws: Workspace, known: Sequence[Experience], waiting: Sequence[Waiting], form: str
) -> tuple[Aside, ...]:
    """The rows of new classes that are set aside and may join, those of the earliest file first.

    Args:
        ws: The workspace.
        known: Every experience.
        waiting: Every file that waits.
        form: Of the schema as it is now.
    """
    joined = {(one.content, one.label) for e in known for one in e.joined}
    found: list[Aside] = []
    for file in [*(file for e in known for file in e.files), *(one.file for one in waiting)]:
        left = [one for one in file.aside if (file.content, one[0]) not in joined]
        path = _rows_of(ws, file.content, form) if left else None
        if path is not None:
            found += [Aside(file.content, *one, path) for one in left]
    return tuple(found)


def counts(aside: Iterable[Aside]) -> dict[Label, int]:
    """How many rows of each class are set aside."""
    found: dict[Label, int] = {}
    for one in aside:
        found[one.label] = found.get(one.label, 0) + one.rows
    return found


def join(
    parts: Sequence[pd.DataFrame],
    aside: Iterable[Aside],
    labels: Collection[Label],
    names: Sequence[str],
    target: str,
) -> tuple[pd.DataFrame, tuple[Joined, ...]]:
    """Put the rows of several files together, and below them rows that were set aside.

    Args:
        parts: The accepted rows of each file, in canonical form.
        aside: What is set aside.
        labels: The classes whose rows join.
        names: The columns, in order.
        target: The column of the classes.

    Returns:
        All rows, index 0, 1, 2 …, and what those are that were set aside, in their order.

    Raises:
        Corrupt: A file of rows cannot be read, or lacks some.
    """
    import pandas as pd

    frames, joined = list(parts), []
    for one in aside:
        if one.label in labels:
            rows = _read(one, target)
            frames.append(rows)
            joined.append(Joined(one.content, one.label, len(rows)))
    if len(frames) == 1:
        return frames[0], ()
    latest = parts[-1]
    # A column that is ignored may have come later: before that the value is missing.
    whole = pd.concat(
        [pd.DataFrame({name: rows.get(name, _nothing(rows)) for name in names}) for rows in frames],
        ignore_index=True,
    )
    dtypes = {name: latest[name].dtype if name in latest else object for name in names}
    return whole.astype(dtypes), tuple(joined)


def without(
    frame: pd.DataFrame,
    one: Experience,
    files: Collection[str],
    classes: Collection[tuple[str, Label]],
) -> tuple[list[pd.DataFrame], pd.DataFrame]:
    """Take rows out of an experience that are in another one by now.

    Args:
        frame: The rows of the experience.
        one: What its footer says.
        files: The contents of the files that stay.
        classes: Content and class of the rows that joined, and stay.

    Returns:
        The rows of each file that stays, and of all classes that stay.
    """
    place = 0
    kept = []
    for file in one.files:
        if file.content in files:
            kept.append(frame[place : place + file.rows])
        place += file.rows
    keep = [False] * place
    for part in one.joined:
        keep += [(part.content, part.label) in classes] * part.rows
    return [rows.reset_index(drop=True) for rows in kept], frame[keep].reset_index(drop=True)


def labels_of(known: Sequence[Experience], waiting: Sequence[Waiting]) -> set[Label]:
    """The classes that the schema did not list and that were let in, as far as footers say."""
    found = {label for e in known for label in e.classes or ()}
    return found | {label for one in waiting for label in one.classes}


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
        raise _damaged(path, error) from error


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
            raise _damaged(path, error) from error
        if (facts.get("offered"), facts.get("form")) == (offered, form):
            return path
    return None


def _waiting_of(path: Path) -> Waiting:
    try:
        seen = path.stat()
    except OSError as error:
        raise _damaged(path, error) from error
    return _footer(path, seen.st_ino, seen.st_mtime_ns, seen.st_size)


@lru_cache(maxsize=10_000)
def _footer(path: Path, _inode: int, _changed_ns: int, _size: int) -> Waiting:
    """What a file says of itself: read once as long as it is the same file.

    An ingest asks for what waits with each file that it takes.
    """
    try:
        facts = facts_of(path)
        number, short = path.stem.split("-")
        file = folder.file_of(facts["file"])
        if not file.content.startswith(short):
            raise ValueError(f"its name is not that of {file.content[:8]}")
        return Waiting(
            int(number),
            file,
            str(facts["sha256"]),
            str(facts["form"]),
            tuple(facts["classes"]),
            str(facts["since"]),
            path,
        )
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise _damaged(path, error) from error


def _read(one: Aside, target: str) -> pd.DataFrame:
    frame = _rows_in(one.path)
    rows = frame[frame[target] == one.label]
    if len(rows) != one.rows:
        raise Corrupt(
            f"{one.path} has {len(rows)} rows of the class {one.label!r}, not {one.rows}",
            hint=_MEND,
        )
    return rows


def _rows_in(path: Path) -> pd.DataFrame:
    import pyarrow as pa

    try:
        return read_rows(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, why: object) -> Corrupt:
    return Corrupt(f"{path} is damaged: {why}", hint=_MEND)
