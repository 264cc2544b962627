"""Read Parquet, and Feather or another Arrow file, with the types that they bring."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure.errors import DataRefused
from perdure.tasks.tables.table import Known, Table, names_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PARQUET = b"PAR1"
"""First four bytes of every Parquet file."""
FEATHER = b"ARROW1\0\0"
"""First bytes of every Arrow file, and so of Feather since its version 2."""
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def read_parquet(path: Path, known: Known) -> Table:
    """Read a Parquet file.

    Raises:
        DataRefused: It is damaged, has no columns or no rows, or one that cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path.name, "Parquet", error) from error
    return _table(table, path.name, known)


def read_feather(path: Path, known: Known) -> Table:
    """Read a Feather file, or another Arrow file; not an Arrow stream.

    Raises:
        DataRefused: It is damaged, has no columns or no rows, or one that cannot be read.
    """
    import pyarrow as pa

    try:
        with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
            table = reader.read_all()
        table.validate(full=True)  # its buffers come from outside
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path.name, "Feather (an Arrow file)", error) from error
    return _table(table, path.name, known)


def _unreadable(name: str, what: str, error: Exception) -> DataRefused:
    first = str(error).partition("\n")[0]
    return DataRefused(f"{name} cannot be read as {what}: {first}")


def _table(table: pa.Table, file: str, known: Known) -> Table:
    import pandas as pd

    notes: list[str] = []
    # pandas stores an unnamed index as a column of its own; it is not data.
    kept = [name for name in table.column_names if not _PANDAS_INDEX.fullmatch(name)]
    if len(kept) < table.num_columns:
        notes.append("left out: an index that pandas wrote without a name")
    if not kept:
        raise DataRefused(f"{file} has no columns")
    names = names_of(kept, file, known, notes)
    if "" in names:
        raise DataRefused(f"{file}: column {names.index('') + 1} has no name")
    table = table.select([i for i, n in enumerate(table.column_names) if n in set(kept)])
    table = table.rename_columns(names)
    if not table.num_rows:
        raise DataRefused(f"{file} has columns but no rows")
    frame = _pandas(table, file)
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
    return Table(frame, tuple(notes))


def _pandas(table: pa.Table, file: str) -> pd.DataFrame:
    """A table with pandas' types; column by column where it cannot be done at once."""
    import pandas as pd
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        table = table.set_column(place, field.name, _plain(table.column(place)))
    deep = [field.name for field in table.schema if _is_deep(field.type)]
    flat = table.drop_columns(deep) if deep else table
    try:
        frame: pd.DataFrame = flat.to_pandas(ignore_metadata=True, integer_object_nulls=True)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, LookupError):
        columns = {name: _column(flat.column(name), name, file) for name in flat.column_names}
        frame = pd.DataFrame(columns)
    if not deep:
        return frame
    found = {name: frame[name] for name in flat.column_names}
    found |= {name: _objects(table.column(name), name, file) for name in deep}
    return pd.DataFrame({name: found[name] for name in table.column_names})


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column without what only saves space: dictionaries, runs, names of types."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if isinstance(kind, pa.UuidType):
        texts = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    if isinstance(kind, pa.BaseExtensionType):
        storage = [chunk.storage for chunk in column.chunks]
        return _plain(pa.chunked_array(storage, kind.storage_type))
    if pa.types.is_dictionary(kind):
        decoded = [chunk.dictionary_decode() for chunk in column.chunks]
        return _plain(pa.chunked_array(decoded, kind.value_type))
    if pa.types.is_run_end_encoded(kind):
        decoded = [pc.run_end_decode(chunk) for chunk in column.chunks]
        return _plain(pa.chunked_array(decoded, kind.value_type))
    return column


def _is_deep(kind: pa.DataType) -> bool:
    """Whether values are more than lists of plain ones, which pandas would have as arrays."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = kind.value_type
        return bool(pa.types.is_nested(inner) or pa.types.is_temporal(inner))
    return bool(pa.types.is_nested(kind)) and not pa.types.is_union(kind)


def _column(column: pa.ChunkedArray, name: str, file: str) -> pd.Series[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return _series(column)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, LookupError) as error:
        try:  # such as times of a nanosecond, which Python does not have
            return _series(pc.cast(column, pa.large_string()))
        except (pa.ArrowException, ValueError):
            raise _no_column(column, name, file, error) from error


def _series(column: pa.ChunkedArray) -> pd.Series[Any]:
    import pyarrow as pa

    frame = pa.table({"": column}).to_pandas(ignore_metadata=True, integer_object_nulls=True)
    found: pd.Series[Any] = frame[""]
    return found


def _objects(column: pa.ChunkedArray, name: str, file: str) -> pd.Series[Any]:
    """Lists, tuples and dicts of Python's own values."""
    import pandas as pd
    import pyarrow as pa

    try:
        return pd.Series(column.to_pylist(), dtype=object)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, LookupError) as error:
        raise _no_column(column, name, file, error) from error


def _no_column(column: pa.ChunkedArray, name: str, file: str, error: Exception) -> DataRefused:
    first = str(error).partition("\n")[0]
    return DataRefused(
        f"{file}: column {name!r} is of type {column.type}, which cannot be read ({first})",
        hint="write it as text or numbers, or leave it out of the file",
    )
