"""A table as it was read from a file, and the names of its columns."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perdure.errors import DataRefused

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

COUNTS = r"^(0|[1-9]\d{0,17})$"
"""RE2 pattern of a whole number as pandas and R write the number of a row."""


@dataclass(frozen=True, eq=False)
class Table:
    """A table as it was read.

    Attributes:
        frame: The columns in the file's order; the index is named `row`, 1 is the first data row.
        notes: What a person should know of how it was read: columns left out, names changed, a
            separator other than the comma.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Known:
    """What a schema knows of the files that it describes.

    Attributes:
        names: Of its columns and the target; empty: there is no schema yet.
        blanks: Whether it was made of a file whose names or words begin or end with blanks, by a
            version that left them there: they are left in later files as well.
    """

    names: frozenset[str] = frozenset()
    blanks: bool = False


NOTHING = Known()


def names_of(
    raw: Sequence[str], file: str, known: Known, notes: list[str], line: int | None = None
) -> list[str]:
    """The columns' names without blanks around them; an empty name stays.

    Args:
        raw: As they stand in the file.
        file: Its name, for messages.
        known: What the schema knows.
        notes: Where it is noted that there were blanks.
        line: Of the header, for messages.

    Raises:
        DataRefused: Two columns have one name.
    """
    names = list(raw) if known.blanks else [name.strip() for name in raw]
    doubles = sorted({name for name in names if name and names.count(name) > 1})
    if doubles:
        where = file if line is None or line == 1 else f"{file}, line {line}"
        changed = any(name not in raw or raw.count(name) < 2 for name in doubles)
        raise DataRefused(
            f"{where} has more than one column named {', '.join(map(repr, doubles))}"
            + (", without the blanks around the names" if changed else "")
        )
    stripped = [old for old, new in zip(raw, names, strict=True) if old != new and new]
    if stripped:
        few = ", ".join(map(repr, stripped[:3])) + (" …" if len(stripped) > 3 else "")
        notes.append(f"blanks around {_columns(len(stripped), 'name')} were removed: {few}")
    return names


def without_unnamed(
    names: Sequence[str], columns: Sequence[pa.ChunkedArray], file: str, notes: list[str]
) -> tuple[list[str], list[pa.ChunkedArray]]:
    """The columns that have a name, where the others are an index of pandas or hold nothing.

    Args:
        names: May be empty.
        columns: Of text, each (rows,).
        file: Its name, for messages.
        notes: Where it is noted what was left out.

    Raises:
        DataRefused: A column without a name holds values.
    """
    kept: list[int] = []
    for place, (name, column) in enumerate(zip(names, columns, strict=True)):
        if name:
            kept.append(place)
        elif place == 0 and len(names) > 1 and _counts(column):
            notes.append(
                "left out: column 1, which has no name and numbers the rows: an index, as pandas "
                "writes it without index=False"
            )
        elif _is_empty(column):
            notes.append(f"left out: column {place + 1}, which has no name and no values")
        else:
            first = next(value for value in column.to_pylist() if value)
            raise DataRefused(
                f"{file}: column {place + 1} has no name, and holds values such as {first!r}",
                hint="name it in the header, or write the file without it "
                "(pandas: index=False; R: row.names = FALSE)",
            )
    if not kept:
        raise DataRefused(f"{file} has no column with a name")
    return [names[place] for place in kept], [columns[place] for place in kept]


def _counts(column: pa.ChunkedArray) -> bool:
    """Whether texts number rows: whole numbers, all distinct or counted up by one in runs."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pc.all(pc.match_substring_regex(column, COUNTS)).as_py():
        return False
    numbers = column.cast(pa.int64()).to_numpy()
    if len(np.unique(numbers)) == len(numbers):
        return True
    # Tables put together with pandas' concat: each part counts from the beginning.
    begins = np.concatenate(([True], np.diff(numbers) != 1))
    return bool((numbers[begins] == numbers[0]).all() and numbers[0] in (0, 1))


def _is_empty(column: pa.ChunkedArray) -> bool:
    import pyarrow.compute as pc

    return not pc.max(pc.binary_length(column)).as_py()


def text_frame(
    names: Sequence[str], columns: Sequence[pa.ChunkedArray | list[Any]], rows: array[int]
) -> pd.DataFrame:
    """A table of text columns, of numbers, and of objects where a column is a list.

    Args:
        names: Of the columns.
        columns: Each (rows,): text, numbers, or Python objects.
        rows: The number of each row.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    index = pd.Index(np.frombuffer(rows, dtype=np.int64), name="row")

    def series(values: pa.ChunkedArray | list[Any]) -> pd.Series[Any]:
        if isinstance(values, list):
            return pd.Series(values, index=index, dtype=object)
        if values.type == pa.large_string():  # no copy
            text = pa.chunked_array([values.combine_chunks()])
            return pd.Series(pd.array(text, dtype="str"), index=index)
        return pd.Series(values.to_pandas().to_numpy(), index=index)

    return pd.DataFrame({n: series(values) for n, values in zip(names, columns, strict=True)})


def _columns(count: int, what: str) -> str:
    return f"the {what} of 1 column" if count == 1 else f"the {what}s of {count} columns"
