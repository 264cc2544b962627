"""Read a table from a file, as it stands there; what it means is the schema's business.

A file's kind is known by its first bytes: Parquet, Feather, or text, which may be compressed as a
whole: CSV or JSON. What is none of these is refused with what it is and what to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perdure.errors import DataRefused
from perdure.tasks.tables import (
    arrow_reader,
    csv_reader,
    encodings,
    foreign,
    json_reader,
    packing,
    pictures,
)
from perdure.tasks.tables.columns import CategoryColumn, ImageColumn
from perdure.tasks.tables.definition import ClassTarget, Schema
from perdure.tasks.tables.refusing import refusing
from perdure.tasks.tables.table import NOTHING, Known, Table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Table", "read", "read_file", "read_table"]


@refusing
def read(path: Path, schema: Schema) -> Table:
    """Read what a schema describes: images and their labels, or a table; see there.

    Raises:
        DataRefused: It cannot be read as such.
    """
    for name, column in schema.columns.items():
        if isinstance(column, ImageColumn):
            frame = pictures.read_pictures(path, name, column, schema.target.name)
            return Table(frame, pictures.notes(path))
    return read_file(path, _known(schema))


def read_table(path: Path | str) -> pd.DataFrame:
    """Read a table as `perdure ingest` reads it.

    CSV: UTF-8, or UTF-16 with a byte order mark; commas, semicolons, tabs or vertical bars; a
    header line, which comment lines (`# …`) or `sep=;` may precede; any line ends. Blank lines are
    skipped, but counted. JSON lines, or a JSON array of records. Either may be compressed with
    gzip, bzip2, xz or Zstandard. Parquet and Feather. A link to a file is followed.

    Args:
        path: The file.

    Returns:
        The columns in the file's order. From text all are text, an empty field is ''; no word
        is taken for a missing value. From Parquet and Feather they have the file's types. The
        index is named `row`: 1 is the first data row.

    Raises:
        DataRefused: The file cannot be read as a table, or has no rows.
    """
    return read_file(Path(path)).frame


@refusing
def read_file(path: Path, known: Known = NOTHING) -> Table:
    """Read a table, and note how; see `read_table`.

    Args:
        path: The file.
        known: What the schema knows, where there is one.

    Raises:
        DataRefused: The file cannot be read as a table, or has no rows.
    """
    try:
        if not path.exists():
            what = "is a link to nothing" if path.is_symlink() else "does not exist"
            raise DataRefused(f"{path} {what}")
        if path.is_dir():
            foreign.refuse_folder(path)
        if not path.is_file():
            raise DataRefused(f"{path} is not a regular file", hint="perdure ingest FILE...")
        source = packing.source(path)
        if not source.head:
            raise DataRefused(f"{path.name} is empty (0 bytes)")
        return _of_source(source, known)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        raise DataRefused(f"{path.name} cannot be read: {error}") from error


def _of_source(source: packing.Source, known: Known) -> Table:
    typed = _typed(source)
    if typed is not None:
        if source.packing is not None:
            raise DataRefused(
                f"{source.name} is {typed} compressed with {source.packing}",
                hint=f"unpack it: {typed} is compressed inside",
            )
        reader = arrow_reader.read_parquet if typed == "Parquet" else arrow_reader.read_feather
        return reader(source.path, known)
    foreign.refuse_foreign(source)
    encoding, called = encodings.encoding_of(source)
    notes = [] if called == "UTF-8" else [f"the encoding is {called}"]
    if json_reader.is_json(source, encoding):
        return json_reader.read_json(source, encoding, known, notes)
    return csv_reader.read_csv(source, encoding, known, notes)


def _typed(source: packing.Source) -> str | None:
    """Whether a file is Parquet or Feather, by its first bytes or, damaged, by its suffix."""
    if source.head.startswith(arrow_reader.PARQUET) or source.suffix in (".parquet", ".pq"):
        return "Parquet"
    # Eight bytes, as the header of a CSV may begin with the letters.
    if source.head.startswith(arrow_reader.FEATHER):
        return "Feather"
    damaged = source.suffix in (".feather", ".arrow") and not source.head.startswith(b"\xff" * 4)
    return "Feather" if damaged and not source.head.startswith(b"FEA1") else None


def _known(schema: Schema) -> Known:
    """What the schema knows of the files that it describes."""
    names = [*schema.columns, schema.target.name]
    words = list(names)
    for column in schema.columns.values():
        words += column.categories if isinstance(column, CategoryColumn) else ()
    if isinstance(schema.target, ClassTarget):
        words += [label for label in schema.target.classes if isinstance(label, str)]
    return Known(frozenset(names), any(word.startswith((" ", "\t")) for word in words))
