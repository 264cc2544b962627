"""Experiences, one Parquet file each.

`experiences/NNNNNN-<first 8 of sha256>.parquet`; the whole hash, the name of the source, the
schema's hash, the form of the split, and what became of new classes stand in the file's metadata.
A file is there whole or not at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perdure import escaping
from perdure.config import Workspace
from perdure.errors import Corrupt, UsageError
from perdure.reading import arrow_text
from perdure.records import Experience
from perdure.records.data import Joined, Label, SourceFile
from perdure.tasks.experiences.files import writing
from perdure.tasks.experiences.in_progress import replaced, unfinished

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Digest = Callable[["pd.DataFrame"], str]
"""`perdure.tasks.tables.content.content_sha256`; handed in, as tasks import no other task."""

FORMAT = 1
GROUP_BYTES = 64 * 2**20
"""Bytes of pixels in a group of rows of a file."""
LEAST_GROUP = 256
"""Rows in such a group, at least."""
MOST_BLOCKS = 90
"""Columns that are blocks of their own; pandas warns of more than 100 as soon as one is added."""
NAMED = 3
"""So many files of an experience are named by `Experience.source`."""
_KEY = b"perdure"
_NAME = re.compile(r"(\d{6,})-([0-9a-f]{8})\.parquet")


def experience_id(number: int, sha256: str) -> str:
    """`NNNNNN-<first 8 of sha256>`."""
    return f"{number:06d}-{sha256[:8]}"


def list_experiences(ws: Workspace, but: Collection[str] = ()) -> tuple[Experience, ...]:
    """Every experience in order, also those being added; reads the files' footers only.

    Args:
        ws: The workspace.
        but: Ids of experiences that are left out, and whose files are not opened.

    Raises:
        Corrupt: A file is damaged or renamed, or a number is there twice.
    """
    leaving = _leaving(ws)
    files = [file for file in files_in(ws.experiences) if file.stem not in leaving]
    files.sort(key=_number)
    for one, other in pairwise(files):
        # A reader does not wait for an ingest, and what is being added may get a new number.
        if _number(one) == _number(other) and one.exists() and other.exists():
            raise Corrupt(
                f"two experiences have the number {_number(one)}: {one.stem} and {other.stem}",
                hint="keep the one that git and DVC know: dvc diff",
            )
    return tuple(_still_there([file for file in files if file.stem not in but]))


def _leaving(ws: Workspace) -> set[str]:
    """Experiences whose files are there for a moment beside what takes their place."""
    pairs = replaced(ws).items()
    return {old for old, new in pairs if not new or (ws.experiences / f"{new}.parquet").exists()}


def _number(file: Path) -> int:
    return int(file.stem.partition("-")[0])


def files_in(place: Path) -> list[Path]:
    """The files of experiences in a folder, by their names; none where it is missing."""
    try:
        return sorted(file for file in place.iterdir() if _NAME.fullmatch(file.name))
    except FileNotFoundError:
        return []


def _still_there(files: Sequence[Path]) -> Iterator[Experience]:
    """A reader does not wait for an ingest, and one that is being added may get a new number."""
    for file in files:
        try:
            yield of_file(file)
        except Corrupt:
            if file.exists():
                raise


def committed(ws: Workspace, but: Collection[str] = ()) -> tuple[Experience, ...]:
    """Every experience that is recorded in DVC and git: all but those being added.

    Args:
        ws: The workspace.
        but: See `list_experiences`.
    """
    return list_experiences(ws, {*but, *(unfinished(ws) or ())})


def get(ws: Workspace, id_: str) -> Experience | None:
    """One experience; None: there is none.

    Raises:
        Corrupt: Its file is damaged or renamed.
    """
    path = ws.experiences / f"{id_}.parquet"
    there = _NAME.fullmatch(path.name) and path.exists() and id_ not in _leaving(ws)
    return next(_still_there([path]), None) if there else None


def recorded(ws: Workspace, id_: str) -> Experience | None:
    """What an experience's file says of itself; None: it is not on this machine, or damaged."""
    try:
        return of_file(ws.experiences / f"{id_}.parquet")
    except Corrupt:
        return None


def find(known: Sequence[Experience], *sha256s: str) -> Experience | None:
    """The experience with this content, or one of whose files offered it, if it is there."""
    wanted = set(sha256s)
    return next((e for e in known if wanted.intersection((e.sha256, *e.contents))), None)


def next_number(known: Sequence[Experience]) -> int:
    """One more than the highest; the first is 1."""
    return max((e.number for e in known), default=0) + 1


def write_experience(
    ws: Workspace,
    number: int,
    frame: pd.DataFrame,
    sha256: str,
    files: Sequence[SourceFile],
    schema_sha256: str,
    *,
    form: str = "",
    joined: Sequence[Joined] = (),
    classes: Sequence[Label] = (),
    split: int = 1,
    distinct_rows: int | None = None,
) -> Experience:
    """Write an experience; the same arguments give the same bytes, and again is no harm.

    Args:
        ws: The workspace.
        number: Its place in the order.
        frame: Canonical, as the check accepted it.
        sha256: Of its content.
        files: Whose rows these are, in the order of the rows.
        schema_sha256: Of the schema that it was checked against.
        form: Of that schema; see `Waiting`.
        joined: What the last rows are.
        classes: Classes of the rows that the schema does not list.
        split: The form in which the rows are split.
        distinct_rows: Rows that differ in their features.

    Raises:
        Fault: The disk is full or read-only.
    """
    facts = {
        "format": FORMAT,
        "sha256": sha256,
        "source": source_of(files),
        "schema": schema_sha256,
        "rows": len(frame),
        "classes": list(classes),
    }
    if split != 1:  # a file without it has form 1
        facts["split"] = split
    if distinct_rows is not None:
        facts["distinct_rows"] = distinct_rows
    if len(files) > 1:
        facts |= _files(files, joined) | {"form": form}
    elif files[0].content != sha256 or files[0].aside or joined:  # one file, as ever
        facts |= {
            "offered": files[0].content,
            "aside": [list(one) for one in files[0].aside],
            "joined": _joined(joined),
        }
    path = ws.experiences / f"{experience_id(number, sha256)}.parquet"
    with writing(ws, path) as part:
        write_rows(frame, part, facts)
    return of_file(path)


def rewrite(
    ws: Workspace,
    one: Experience,
    frame: pd.DataFrame,
    sha256: str,
    files: Sequence[SourceFile],
    joined: Sequence[Joined],
) -> Path:
    """Write an experience beside its file with rows of fewer files; the number stays."""
    facts = facts_of(one.path) | {"sha256": sha256, "rows": len(frame)}
    facts |= {"source": source_of(files)} | _files(files, joined)
    facts.pop("distinct_rows", None)  # of all the rows
    path = one.path.with_name(f"{experience_id(one.number, sha256)}.parquet")
    with writing(ws, path) as part_file:
        write_rows(frame, part_file, facts)
    return path


def source_of(files: Sequence[SourceFile]) -> str:
    """The names of files for people to read: all, or the last one and how many there are."""
    names = [escaping.printable(one.name) for one in files]
    return ", ".join(names) if len(names) <= NAMED else f"{names[-1]} and {len(names) - 1} earlier"


def file_facts(one: SourceFile) -> list[Any]:
    """What a footer says of a file."""
    return [escaping.printable(one.name), one.content, one.rows, [list(part) for part in one.aside]]


def file_of(facts: Sequence[Any]) -> SourceFile:
    """What `file_facts` says."""
    name, content, rows, aside = facts
    return SourceFile(str(name), str(content), int(rows), _aside(aside))


def _files(files: Sequence[SourceFile], joined: Sequence[Joined]) -> dict[str, Any]:
    return {"files": [file_facts(one) for one in files], "joined": _joined(joined)}


def _joined(joined: Sequence[Joined]) -> list[list[Any]]:
    return [[one.content, one.label, one.rows] for one in joined]


def _aside(facts: Sequence[Any]) -> tuple[tuple[Label, int], ...]:
    return tuple((label, int(rows)) for label, rows in facts)


def write_rows(frame: pd.DataFrame, path: Path, facts: Mapping[str, Any]) -> None:
    """Write canonical rows as Parquet, with facts about them in the footer."""
    import pyarrow.parquet as pq

    table = _to_arrow(frame).replace_schema_metadata(
        {_KEY: json.dumps(facts, sort_keys=True).encode()}
    )
    pq.write_table(table, path, compression="zstd", row_group_size=_group(table))


def read_rows(path: Path) -> pd.DataFrame:
    """Read what `write_rows` wrote, a column at a time, so that no more is in memory twice."""
    import pandas as pd
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        columns = {
            name: _series(file.read(columns=[name])[name]) for name in file.schema_arrow.names
        }
    # As one block the numbers would be copied once more.
    return pd.DataFrame(columns, copy=len(columns) > MOST_BLOCKS)


def facts_of(path: Path) -> dict[str, Any]:
    """The facts that `write_rows` wrote; reads the footer only."""
    import pyarrow.parquet as pq

    facts: dict[str, Any] = json.loads((pq.read_metadata(path).metadata or {})[_KEY])
    return facts


def read_experience(ws: Workspace, experience: str, digest: Digest) -> pd.DataFrame:
    """The rows of an experience, in the canonical form in which they were written.

    Args:
        ws: The workspace.
        experience: Its id.
        digest: Gives the hash of the content.

    Raises:
        UsageError: There is no such experience.
        Corrupt: The content is not that of its hash, or cannot be read.
    """
    import pyarrow as pa

    path = ws.experiences / f"{experience}.parquet"
    if not _NAME.fullmatch(path.name) or not path.exists():
        raise UsageError(f"no experience {experience} in {ws.experiences}", hint="perdure status")
    recorded = of_file(path)
    try:
        frame = read_rows(path)
    except (pa.ArrowException, OSError) as error:
        raise _corrupt(path, str(error)) from error
    found = digest(frame)
    if found != recorded.sha256:
        raise _corrupt(path, f"its content has sha256 {found}, not {recorded.sha256}")
    return frame


def _corrupt(path: Path, what: str) -> Corrupt:
    return Corrupt(
        f"{path} is damaged: {what.partition(chr(10))[0]}",
        hint="dvc checkout --force data.dvc brings back the file that was recorded",
    )


def of_file(path: Path) -> Experience:
    """What a file says of itself, from its footer.

    Raises:
        Corrupt: It is damaged or renamed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
        facts: Mapping[str, Any] = json.loads((metadata.metadata or {})[_KEY])
        number, short = path.stem.split("-")
        sha256 = str(facts["sha256"])
        classes, distinct = facts.get("classes"), facts.get("distinct_rows")
        joined = tuple(
            Joined(str(content), label, int(rows))
            for content, label, rows in facts.get("joined", ())
        )
        experience = Experience(
            path.stem,
            int(number),
            sha256,
            int(facts["rows"]),
            str(facts["source"]),
            path,
            files=_files_of(facts, joined),
            joined=joined,
            classes=None if classes is None else tuple(classes),
            split=int(facts.get("split", 1)),
            distinct_rows=None if distinct is None else int(distinct),
        )
        if not sha256.startswith(short) or metadata.num_rows != experience.rows:
            raise ValueError(f"its name or its rows are not those of {sha256[:8]}")
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        raise _corrupt(path, str(error)) from error
    return experience


def _files_of(facts: Mapping[str, Any], joined: Sequence[Joined]) -> tuple[SourceFile, ...]:
    """The files of an experience; a footer that has no list of them is of one."""
    if "files" in facts:
        return tuple(file_of(one) for one in facts["files"])
    content = str(facts.get("offered") or facts["sha256"])
    rows = int(facts["rows"]) - sum(one.rows for one in joined)
    return (SourceFile(str(facts["source"]), content, rows, _aside(facts.get("aside", ()))),)


def _to_arrow(frame: pd.DataFrame) -> pa.Table:
    import pyarrow as pa

    return pa.table(
        {name: pa.array(frame[name].to_numpy(), _type(frame[name])) for name in frame.columns}
    )


def _group(table: pa.Table) -> int | None:
    """Rows in a group of the file: fewer where they are images, or a group would not fit."""
    import pyarrow as pa

    if not any(pa.types.is_fixed_size_binary(field.type) for field in table.schema):
        return None
    return max(LEAST_GROUP, int(len(table) * GROUP_BYTES // max(1, table.nbytes)))


def _type(column: pd.Series[Any]) -> pa.DataType:
    """The type in the file: pixels of one size have a fixed size, numbers in order are a list."""
    import pyarrow as pa

    types = {"f": pa.float64(), "i": pa.int64(), "b": pa.bool_()}
    if column.dtype.kind in types:
        return types[column.dtype.kind]
    first = next((value for value in column.tolist() if value is not None), None)
    if isinstance(first, bytes):
        return pa.binary(len(first))
    return pa.list_(pa.float64()) if hasattr(first, "dtype") else pa.string()


def _series(column: pa.ChunkedArray) -> pd.Series[Any]:
    """A column as it was written: pandas would make text a `str` column, and None a NaN."""
    import pandas as pd

    values = _texts(column) if column.type == "string" else column.to_numpy()
    return pd.Series(values, dtype=values.dtype, copy=False)


def _texts(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """Text as objects, one for all rows that are equal."""
    parts = [np.empty(0, dtype=object)]
    for chunk in column.chunks:
        codes, texts = arrow_text.distinct(chunk)
        parts.append(np.array(texts, dtype=object)[codes])
    return np.concatenate(parts)
