"""Read a table from a file, as it stands there; what it means is the schema's business.

CSV is read by the standard library's strict reader, not by pandas: pandas fills short rows
up and closes an open quote at the end of the file without a word, and either one is how a
file looks that was cut off on its way here.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from perdure.errors import DataRefused
from perdure.tasks.tables import pictures
from perdure.tasks.tables.columns import ImageColumn
from perdure.tasks.tables.model import Schema

if TYPE_CHECKING:
    import pandas as pd

MAGIC = b"PAR1"
"""First four bytes of every Parquet file."""
LONGEST_FIELD = 16 * 2**20
"""Characters of a CSV field: a long text, or a sequence of about a million numbers."""
CHUNK = 50_000
"""CSV rows turned into columns at a time; bounds the memory taken by Python strings."""
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def read(path: Path, schema: Schema) -> pd.DataFrame:
    """Read what a schema describes: images and their labels, or a table; see there.

    Raises:
        DataRefused: It cannot be read as such.
    """
    for name, column in schema.columns.items():
        if isinstance(column, ImageColumn):
            return pictures.read_pictures(path, name, column, schema.target.name)
    return read_table(path)


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV or Parquet file.

    CSV: UTF-8 (with or without a byte order mark), commas, a header line, any line ends.
    Blank lines are skipped, but counted. A link to a file is followed.

    Returns:
        The columns in the file's order. From CSV all are text, an empty field is ''; from
        Parquet they have the file's types. The index is named `row`: 1 is the first data row.

    Raises:
        DataRefused: The file cannot be read as a table, or has no rows.
    """
    try:
        if not path.exists():
            what = "is a link to nothing" if path.is_symlink() else "does not exist"
            raise DataRefused(f"{path} {what}")
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "is not a regular file"
            raise DataRefused(f"{path} {what}", hint="perdure ingest FILE...")
        with path.open("rb") as file:
            head = file.read(65_536)
        if not head:
            raise DataRefused(f"{path.name} is empty (0 bytes)")
        if head.startswith(MAGIC) or path.suffix.lower() in {".parquet", ".pq"}:
            return _parquet(path)
        _not_text(path.name, head)
        with path.open(encoding="utf-8-sig", newline="") as text:
            return _csv(text, path.name)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        raise DataRefused(f"{path.name} cannot be read: {error}") from error


def _not_text(name: str, head: bytes) -> None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataRefused(f"{name} is UTF-16", hint="save it as CSV in UTF-8")
    if b"\0" in head:
        raise DataRefused(f"{name} is binary: neither CSV nor Parquet")


def _csv(text: TextIO, name: str) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    reader = csv.reader(text, strict=True)
    usual = csv.field_size_limit(LONGEST_FIELD)
    try:
        header = next(reader, [])
        if not header:
            raise DataRefused(f"{name} has no header line")
        _names_differ(header, name)
        _commas(header, name)
        numbers: list[int] = []
        chunks: list[list[pa.Array]] = []
        rows = _rows(reader, len(header), name)
        while part := list(islice(rows, CHUNK)):
            numbers += [number for number, _ in part]
            columns = zip(*(fields for _, fields in part), strict=True)
            chunks.append([pa.array(column, pa.large_string()) for column in columns])
    except csv.Error as error:
        raise DataRefused(f"{name}, line {reader.line_num}: {error}") from error
    except UnicodeDecodeError as error:
        bad = error.object[error.start]
        raise DataRefused(
            f"{name} is not UTF-8: byte 0x{bad:02x} after line {reader.line_num}",
            hint="save it as CSV in UTF-8",
        ) from error
    finally:
        csv.field_size_limit(usual)
    if not numbers:
        raise DataRefused(f"{name} has a header but no rows")
    whole = [pa.chunked_array(list(parts)) for parts in zip(*chunks, strict=True)]
    index = pd.Index(numbers, dtype="int64", name="row")
    return pd.DataFrame(
        {
            column: pd.Series(values.to_pandas().to_numpy(), index=index, dtype="str")
            for column, values in zip(header, whole, strict=True)
        }
    )


def _rows(reader: Iterator[list[str]], width: int, name: str) -> Iterator[tuple[int, list[str]]]:
    for number, fields in enumerate(reader, start=1):
        if not fields:
            continue
        if len(fields) != width:
            raise DataRefused(
                f"{name}, row {number} has {len(fields)} fields, the header has {width}",
                hint="the file was cut off, or a comma inside a value is not quoted",
            )
        yield number, fields


def _names_differ(names: list[str], file: str) -> None:
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise DataRefused(f"{file} has more than one column named {', '.join(map(repr, doubles))}")
    if "" in names:
        raise DataRefused(f"{file}: column {names.index('') + 1} has no name")


def _commas(header: list[str], file: str) -> None:
    for mark, called in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            raise DataRefused(
                f"{file} seems to separate its fields with {called}",
                hint="save it with commas, or as Parquet",
            )


def _parquet(path: Path) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        # pandas stores an unnamed index as a column of its own; it is not data.
        names = [name for name in table.column_names if not _PANDAS_INDEX.fullmatch(name)]
        _names_differ(names, path.name)
        if not names:
            raise DataRefused(f"{path.name} has no columns")
        frame: pd.DataFrame = table.select(names).to_pandas(
            ignore_metadata=True, integer_object_nulls=True
        )
    except (pa.ArrowException, OSError) as error:
        first = str(error).partition("\n")[0]
        raise DataRefused(f"{path.name} cannot be read as Parquet: {first}") from error
    if frame.empty:
        raise DataRefused(f"{path.name} has columns but no rows")
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
    return frame
