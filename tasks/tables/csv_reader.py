"""Read a CSV file by the standard library's strict reader, all fields as text.

Not by pandas: it fills short rows up and closes an open quote at the end of the file without a
word, and either one is how a file looks that was cut off on its way here.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TextIO

from perdure.errors import DataRefused
from perdure.tasks.tables import encodings, plain_csv
from perdure.tasks.tables.csv_layout import SEPARATORS, Layout, layout
from perdure.tasks.tables.packing import Source
from perdure.tasks.tables.table import Known, Table, names_of, text_frame, without_unnamed

if TYPE_CHECKING:
    import pyarrow as pa

LONGEST_FIELD = 16 * 2**20
"""Characters of a field: a long text, or a sequence of about a million numbers."""
CHUNK = 50_000
"""Rows turned into columns at a time; bounds the memory taken by Python strings."""


def read_csv(source: Source, encoding: str, known: Known, notes: list[str]) -> Table:
    """Read a CSV file.

    Args:
        source: The file.
        encoding: As Python calls it.
        known: What the schema knows.
        notes: What is known of the file already.

    Raises:
        DataRefused: It cannot be read as a table, or has no rows.
    """
    try:
        with _longest_fields():
            with encodings.opened(source, encoding) as text:
                try:
                    found = layout(text, source.name, known)
                except csv.Error as error:
                    raise DataRefused(f"{source.name}: {error}") from error
            notes += found.notes
            with encodings.opened(source, encoding) as text:
                return _read(text, source, encoding, found, known, notes)
    except UnicodeDecodeError as error:
        encodings.not_encoded(source, error)


@contextmanager
def _longest_fields() -> Iterator[None]:
    usual = csv.field_size_limit(LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(usual)


def _read(
    text: TextIO, source: Source, encoding: str, found: Layout, known: Known, notes: list[str]
) -> Table:
    name = source.name
    skipped = sum(1 for _ in islice(text, found.skip))
    reader = csv.reader(text, delimiter=found.separator, strict=True, skipinitialspace=found.blanks)
    before = 0
    """Lines from the header on that are done with; what comes next begins on the next one."""
    numbers, chunks, part = array("q"), [], []
    try:
        header = next(reader)
        names = names_of(header, name, known, notes, skipped + 1)
        before, width = reader.line_num, len(names)
        quick = None
        if before == 1:
            quick = plain_csv.read(source, encoding, found, width, LONGEST_FIELD)
        if quick is not None:
            names, columns = without_unnamed(names, quick.columns, name, notes)
            rows = array("q", range(1, quick.num_rows + 1))
            return Table(text_frame(names, columns, rows), tuple(notes))
        for number, fields in enumerate(reader, start=1):
            if len(fields) != width:
                if not fields:  # a blank line
                    before = reader.line_num
                    continue
                raise _of_other_width(name, number, skipped + before + 1, fields, width, found)
            before = reader.line_num
            numbers.append(number)
            part.append(fields)
            if len(part) == CHUNK:
                chunks.append(_columns(part))
                part = []
    except csv.Error as error:
        where = f"{name}, line {skipped + before + 1}"
        last = skipped + reader.line_num
        to = f" to {last}" if last > skipped + before + 1 else ""
        raise DataRefused(
            f"{where}{to}: {error}",
            hint="the file was cut off, or a quote is open or not doubled",
        ) from error
    if part:
        chunks.append(_columns(part))
    if not chunks:
        raise DataRefused(f"{name} has a header but no rows")
    import pyarrow as pa

    columns = [pa.chunked_array(list(parts)) for parts in zip(*chunks, strict=True)]
    names, columns = without_unnamed(names, columns, name, notes)
    return Table(text_frame(names, columns, numbers), tuple(notes))


def _columns(rows: list[list[str]]) -> list[pa.Array]:
    import pyarrow as pa

    return [pa.array(column, pa.large_string()) for column in zip(*rows, strict=True)]


def _of_other_width(
    name: str, row: int, line: int, fields: list[str], width: int, found: Layout
) -> DataRefused:
    mark = SEPARATORS[found.separator].removesuffix("s")
    count = f"{len(fields)} field{'' if len(fields) == 1 else 's'}"
    return DataRefused(
        f"{name}, row {row} (line {line}) has {count}, the header has {width}",
        hint=f"the file was cut off, or a {mark} inside a value is not quoted",
    )
