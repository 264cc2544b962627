"""Read JSON lines, or a JSON array: records, whose values are text as they would be in a CSV.

A column of numbers alone is one with a type. A number among text, or one of more digits than a
float holds, is kept as it is written; lists and records inside a record stay such.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from perdure.errors import DataRefused
from perdure.tasks.tables import encodings
from perdure.tasks.tables.packing import Source
from perdure.tasks.tables.table import Known, Table, names_of, text_frame

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK = 50_000
"""Rows turned into columns at a time."""
MOST_COLUMNS = 10_000
"""Different keys of one file: what has more has values for keys."""
LARGEST_ARRAY = 256 * 2**20
"""Bytes of a JSON array, which is parsed at once; JSON lines have no limit."""
MOST_DIGITS = 15
LINES = (".jsonl", ".ndjson", ".jsonlines")
_RECORD = re.compile(r"\s*\{\s*(\"|\}|$)")
_ARRAY = re.compile(r"\s*\[\s*(\{|\]|$)")
_AS_LINES = "write a record a line: frame.to_json(path, orient='records', lines=True), or jq -c"


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


class _Wrong(ValueError):
    """A record is not what it must be."""


def is_json(source: Source, encoding: str) -> bool:
    """Whether a text file is JSON, by its suffix or its beginning."""
    if source.suffix in (*LINES, ".json"):
        return True
    begin = source.head[:4096].decode(encoding, "replace")
    return _RECORD.match(begin) is not None or _ARRAY.match(begin) is not None


def read_json(source: Source, encoding: str, known: Known, notes: list[str]) -> Table:
    """Read JSON lines, or a JSON array of records.

    A record without a key has no value there, as has one with `null`. Blank lines are skipped,
    but counted.

    Args:
        source: The file.
        encoding: As Python calls it.
        known: What the schema knows.
        notes: What is known of the file already.

    Raises:
        DataRefused: It is neither, was cut off, or has no records.
    """
    begin = source.head[:4096].decode(encoding, "replace")
    records = _of_array if begin.lstrip("\ufeff \t\r\n").startswith("[") else _of_lines
    columns = _Columns(source.name)
    try:
        for row, where, record in records(source, encoding):
            columns.add(row, where, record)
    except UnicodeDecodeError as error:
        encodings.not_encoded(source, error)
    return columns.table(known, notes)


def _of_lines(source: Source, encoding: str) -> Iterator[tuple[int, str, Any]]:
    decode = _decoder()
    with encodings.opened(source, encoding) as text:
        for number, line in enumerate(text, start=1):
            if not line.strip():
                continue
            where = f"{source.name}, line {number}"
            try:
                yield number, where, decode(line)
            except _Wrong as error:
                raise DataRefused(f"{where}: {error}") from error
            except json.JSONDecodeError as error:
                whole = "the file was cut off, or a record is spread over several lines: "
                raise DataRefused(
                    f"{where}, character {error.pos + 1} is no JSON: {error.msg}",
                    hint=f"{whole}{_AS_LINES}",
                ) from error
            except RecursionError as error:
                raise DataRefused(f"{where}: lists in lists too deep to be read") from error


def _of_array(source: Source, encoding: str) -> Iterator[tuple[int, str, Any]]:
    with encodings.opened(source, encoding) as text:
        whole = text.read(LARGEST_ARRAY + 1)
    if len(whole) > LARGEST_ARRAY:
        raise DataRefused(
            f"{source.name} is a JSON array of more than {LARGEST_ARRAY / 2**20:.0f} MiB, which "
            "is parsed at once",
            hint=f"{_AS_LINES} '.[]'",
        )
    try:
        records = _decoder()(whole)
    except _Wrong as error:
        raise DataRefused(f"{source.name}: {error}") from error
    except json.JSONDecodeError as error:
        raise DataRefused(
            f"{source.name}, line {error.lineno}, character {error.colno} is no JSON: {error.msg}",
            hint="the file was cut off, or is not JSON",
        ) from error
    except RecursionError as error:
        raise DataRefused(f"{source.name}: lists in lists too deep to be read") from error
    for number, record in enumerate(records, start=1):
        yield number, f"{source.name}, record {number}", record


def _decoder() -> Any:
    usual = json.JSONDecoder(
        parse_int=_Number,
        parse_float=_Number,
        parse_constant={"NaN": "", "Infinity": "inf", "-Infinity": "-inf"}.__getitem__,
        object_pairs_hook=_record,
    )
    return usual.decode


def _record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        double = next(key for key in keys if keys.count(key) > 1)
        raise _Wrong(f"a record has {double!r} more than once")
    return found


class _Columns:
    """Columns that grow with the records; a key that comes late has no value before."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._rows = array("q")
        self._part: list[dict[str, Any]] = []
        self._chunks: dict[str, list[pa.Array | list[Any]]] = {}
        self._sizes: list[int] = []
        self._nested: set[str] = set()
        self._texts_of: set[str] = set()
        """Keys with a value that is no number, or one of many digits."""

    def add(self, row: int, where: str, record: Any) -> None:
        """Add one record.

        Raises:
            DataRefused: It is none, or a value of it is no text.
        """
        if not isinstance(record, dict):
            what = "a list" if isinstance(record, list) else "a single value"
            raise DataRefused(f"{where} is {what} and no record, {{…}}", hint=_AS_LINES)
        self._rows.append(row)
        self._part.append(record)
        if len(self._part) == CHUNK:
            self._flush()

    def _flush(self) -> None:
        size = len(self._part)
        for key in dict.fromkeys(key for record in self._part for key in record):
            if key not in self._chunks:
                self._chunks[key] = [self._texts([""] * count, key) for count in self._sizes]
        if len(self._chunks) > MOST_COLUMNS:
            raise DataRefused(
                f"{self._file} has more than {MOST_COLUMNS:,} different keys",
                hint="a record is a row, with the same keys as the others",
            )
        for key, chunks in self._chunks.items():
            chunks.append(self._chunk([record.get(key) for record in self._part], key))
        self._sizes.append(size)
        self._part = []

    def _chunk(self, values: list[Any], key: str) -> pa.Array | list[Any]:
        import pyarrow as pa

        if not all(value is None or _is_exact(value) for value in values):
            self._texts_of.add(key)
        try:
            return self._texts(values, key)  # of text, numbers and null alone
        except pa.ArrowException:
            found = [_text(value) for value in values]
        if all(isinstance(value, str) for value in found):
            return self._texts(found, key)
        self._nested.add(key)
        return found

    def _texts(self, values: list[Any], key: str) -> pa.Array:
        import pyarrow as pa

        try:
            return pa.array(values, pa.large_string()).fill_null("")
        except UnicodeEncodeError as error:
            raise DataRefused(f"{self._file}: {key!r} has half a character (\\ud800 …)") from error

    def table(self, known: Known, notes: list[str]) -> Table:
        """All records as a table.

        Raises:
            DataRefused: There are none, or a key is no name.
        """
        if self._part:
            self._flush()
        if not self._rows:
            raise DataRefused(f"{self._file} has no records")
        keys = list(self._chunks)
        if not keys:
            raise DataRefused(f"{self._file} has records without a key")
        if len(self._rows) == 1 and self._nested == set(keys):
            raise DataRefused(
                f"{self._file} is one JSON object of lists or objects, and not a record for each "
                "row",
                hint=_AS_LINES,
            )
        names = names_of(keys, self._file, known, notes)
        if "" in names:
            raise DataRefused(f"{self._file}: a key is empty; a column needs a name")
        try:
            "".join(names).encode()
        except UnicodeEncodeError as error:
            raise DataRefused(f"{self._file}: a key has half a character (\\ud800 …)") from error
        columns = [
            list(_values(self._chunks[key])) if key in self._nested else self._column(key)
            for key in keys
        ]
        return Table(text_frame(names, columns, self._rows), tuple(notes))

    def _column(self, key: str) -> pa.ChunkedArray:
        """A column of text, or of numbers: whole ones, or float64."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pa.chunked_array(self._chunks[key])
        if key in self._texts_of or not pc.any(pc.not_equal(found, "")).as_py():
            return found
        found = pc.if_else(pc.equal(found, ""), None, found)
        try:
            return found.cast(pa.int64())
        except pa.ArrowInvalid:
            return found.cast(pa.float64())


def _is_exact(value: Any) -> bool:
    """Whether a value is a number of so few digits that a float has them all."""
    return type(value) is _Number and len(value) <= MOST_DIGITS


def _values(chunks: Iterable[pa.Array | list[Any]]) -> Iterator[Any]:
    for chunk in chunks:
        values = chunk if isinstance(chunk, list) else chunk.to_pylist()
        yield from (None if value == "" else value for value in values)


def _text(value: Any) -> Any:
    """A value as it would stand in a CSV; lists and records as Python's own."""
    if isinstance(value, str):
        return value if type(value) is str else str(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value)
    return _plain(value)


def _plain(value: Any) -> Any:
    """A value inside a list or a record, with numbers as Python's."""
    if isinstance(value, _Number):
        return int(value) if value.lstrip("-").isdecimal() and len(value) < 19 else float(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
