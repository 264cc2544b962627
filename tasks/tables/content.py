"""Names made of content: of a table, and of a row.

These are for ever. A workspace's experience ids, and which rows its models were tested on,
hang on the exact results, so they use nothing but SHA-256, BLAKE2b and 64-bit integer
arithmetic, and tests pin their values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perdure.errors import DataRefused

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Keys = NDArray[np.uint64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_MISSING_WORD = np.uint64(0x6D697373696E6721)
_QUIET_NAN = np.uint64(0x7FF8000000000000)


def content_sha256(frame: pd.DataFrame) -> str:
    """SHA-256 of a canonical table, as `check` gives it.

    It depends on the columns' names, the values, and the order of the rows; not on the order
    of the columns, the index, nor the file that they came in. For each column by name: the
    name, a letter for the type, the number of rows; then the values, of fixed width, little
    end first (text and bytes: all lengths in bytes, -1 for missing, then all bytes, text in
    UTF-8; lists of numbers: all lengths in numbers, then all numbers).
    """
    digest = hashlib.sha256(b"perdure table 1\n")
    for name in sorted(map(str, frame.columns)):
        column = frame[name]
        encoded = name.encode()
        letter = {"f": b"f", "i": b"i", "b": b"b"}.get(column.dtype.kind) or _letter(column)
        digest.update(len(encoded).to_bytes(8, "little") + encoded + letter)
        digest.update(len(column).to_bytes(8, "little"))
        if letter == b"f":
            digest.update(_bits(column.to_numpy(np.float64)).astype("<u8").tobytes())
        elif letter == b"i":
            digest.update(column.to_numpy(np.int64).astype("<i8").tobytes())
        elif letter == b"b":
            digest.update(column.to_numpy(np.bool_).astype("u1").tobytes())
        elif letter in (b"x", b"l"):
            lengths = [-1 if value is None else len(value) for value in column.tolist()]
            digest.update(np.array(lengths, dtype="<i8").tobytes())
            for value in column.tolist():
                if value is not None:
                    digest.update(_as_bytes(value))
        else:
            for part in _utf8(column):
                digest.update(part)
    return digest.hexdigest()


def _utf8(column: pd.Series[Any]) -> tuple[bytes, bytes]:
    """The lengths of words in bytes, -1 where there is none, and all bytes after each other."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        texts = pa.array(column, pa.large_string(), from_pandas=True)
        sizes = pc.fill_null(pc.binary_length(texts), -1).to_numpy(zero_copy_only=False)
    except (pa.ArrowException, ValueError, TypeError, AttributeError):  # not of text alone
        words = [None if v is None or v != v else str(v).encode() for v in column.tolist()]
        sizes = np.array([-1 if word is None else len(word) for word in words])
        return sizes.astype("<i8").tobytes(), b"".join(w for w in words if w is not None)
    parts = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    return sizes.astype("<i8").tobytes(), b"".join(map(_data, parts))


def _data(texts: pa.LargeStringArray) -> bytes:
    """The bytes of all texts, after each other."""
    present = texts.drop_null()
    _, ends, data = present.buffers()
    if data is None or not len(present):
        return b""
    places = np.frombuffer(ends, dtype=np.int64)[present.offset : present.offset + len(present) + 1]
    return bytes(data.slice(places[0], places[-1] - places[0]).to_pybytes())


def row_keys(frame: pd.DataFrame, columns: Sequence[str]) -> Keys:
    """A key for each row, by its values in these columns: the features, not the target.

    `key = mix(Σ_c mix(v_c + mix(salt_c)))` modulo 2⁶⁴, with SplitMix64's finaliser for `mix`
    (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"), salt_c the
    64-bit BLAKE2b of the column's name, and v_c the bits of the number (one zero, one NaN) or
    the 64-bit BLAKE2b of the word, of the bytes, or of a list's numbers, little end first. The
    sum makes the order of columns not matter.

    Returns:
        uint64 (rows,).

    Raises:
        DataRefused: A column is not there.
    """
    check_columns(frame, columns)
    return keys_of(((name, frame[name]) for name in columns), len(frame))


def keys_of(columns: Iterable[tuple[str, pd.Series[Any]]], rows: int) -> Keys:
    """`row_keys` of columns that need not be in memory together.

    Args:
        columns: Name and values, (rows,), of each.
        rows: How many.
    """
    total = np.zeros(rows, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for name, values in columns:
            salt = mix(np.array([_word(name)], dtype=np.uint64))
            total += mix(_column_bits(values) + salt)
        return mix(total)


def check_columns(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Look whether a frame has columns.

    Raises:
        DataRefused: A column is not there.
    """
    lacking = [name for name in columns if name not in frame.columns]
    if lacking:
        raise DataRefused(f"missing column{'s' * (len(lacking) > 1)}: {', '.join(lacking)}")


def distinct_rows(frame: pd.DataFrame, columns: Sequence[str]) -> int:
    """How many rows differ in these columns: the features, not the target.

    Raises:
        DataRefused: A column is not there.
    """
    return len(np.unique(row_keys(frame, columns)))


def _column_bits(column: pd.Series[Any]) -> Keys:
    import pandas as pd

    if column.dtype.kind in "iuf":
        return _bits(column.to_numpy(np.float64))
    if _letter(column) != b"s":
        keys = [_MISSING_WORD if v is None else _hash(_as_bytes(v)) for v in column.tolist()]
        return np.array(keys, dtype=np.uint64)
    codes, words = pd.factorize(column.to_numpy(dtype=object), use_na_sentinel=True)
    hashed = np.array([_word(str(word)) for word in words] + [_MISSING_WORD], dtype=np.uint64)
    return hashed[codes]  # the sentinel, -1, is the last


def _letter(column: pd.Series[Any]) -> bytes:
    """Kind of a column of objects: bytes, of lists of numbers, or of text, by its first value."""
    first = next((value for value in column.tolist() if value is not None), None)
    if isinstance(first, bytes):
        return b"x"
    return b"l" if isinstance(first, np.ndarray) else b"s"


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return bytes(_bits(np.asarray(value, dtype=np.float64)).astype("<u8").tobytes())


def _bits(numbers: NDArray[np.float64]) -> Keys:
    bits = (numbers + 0.0).view(np.uint64)  # -0.0 + 0.0 is 0.0
    bits[np.isnan(numbers)] = _QUIET_NAN
    return bits


def _word(word: str) -> int:
    return _hash(word.encode())


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def mix(values: Keys) -> Keys:
    """SplitMix64's finaliser: numbers that differ in any bit become unlike in all."""
    values = values + GOLDEN
    values = (values ^ (values >> np.uint64(30))) * _MIX_1
    values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return values ^ (values >> np.uint64(31))
