"""Texts in Arrow's memory: what `values` finds value by value, for a whole column at once.

Every function here gives exactly what the Python of `values` gives, or says that it cannot.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

_TO_CHANGE = r"^[\x00-\x20]|[\x00-\x20]$|[^\x00-\x7f]"
"""What `values.bare` may change: a blank or control character at an end, or beyond ASCII."""
_DECIMAL = r"^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?$"
_LEADING_ZERO = r"^[+-]?0\d+$"
_MISSING = r"(?i)^(na|n/a|#n/a|nan|null|none|<na>)?$"
"""`values.MISSING_NUMBERS`: no letter beyond ASCII becomes one of these in lower case."""


def of_objects(values: NDArray[np.object_]) -> pa.Array | None:
    """Objects as Arrow has texts; None: one is neither text nor missing."""
    import pyarrow as pa

    try:
        return pa.array(values, pa.large_string(), from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError):  # ValueError: half of a surrogate pair
        return None


def objects(texts: pa.Array) -> NDArray[np.object_]:
    """(rows,) of str | None; an empty text is None."""
    import pyarrow.compute as pc

    empty = pc.equal(pc.binary_length(texts), 0)
    found = pc.if_else(pc.fill_null(empty, True), None, texts)
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=object)


def first(texts: pa.Array) -> str | None:
    """The first text that is not empty; None: there is none."""
    import pyarrow.compute as pc

    place = pc.index(pc.greater(pc.binary_length(texts), 0), True).as_py()
    return None if place < 0 else str(texts[place].as_py())


def are_bare(texts: pa.Array) -> bool:
    """Whether `values.bare` leaves every text as it is."""
    import pyarrow.compute as pc

    return not pc.any(pc.match_substring_regex(texts, _TO_CHANGE)).as_py()


def counts(texts: pa.Array) -> Counter[str]:
    """How often each text is there that is not empty, in the order in which they appear first."""
    import pyarrow.compute as pc

    found = pc.value_counts(texts)
    pairs = zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)
    return Counter({text: times for text, times in pairs if text})


def distinct(texts: pa.Array) -> tuple[NDArray[np.int64], list[str | None]]:
    """The code of each row, (rows,), and the distinct texts by their codes; None among them."""
    found = texts.dictionary_encode(null_encoding="encode")
    codes = found.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, found.dictionary.to_pylist()


def missing(texts: pa.Array) -> NDArray[np.bool_]:
    """(rows,): where there is no text, or a word that stands for a missing number."""
    import pyarrow.compute as pc

    return _mask(pc.fill_null(pc.match_substring_regex(texts, _MISSING), True))


def numbers(texts: pa.Array, pattern: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The texts that match a pattern of numbers, as numbers.

    Returns:
        float64 (rows,), NaN where a text does not match; and where one that is not empty does not.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    fits = pc.fill_null(pc.match_substring_regex(texts, pattern), False)
    found = pc.cast(pc.if_else(fits, texts, None), pa.float64())
    other = pc.and_not(pc.fill_null(pc.greater(pc.binary_length(texts), 0), False), fits)
    return np.array(found.to_numpy(zero_copy_only=False), dtype=np.float64), _mask(other)


def are_decimal(texts: pa.Array) -> bool:
    """Whether there are numbers with a decimal point or none, and nothing but missing ones beside.

    None begins with a zero that a number would not have, as a zip code does.
    """
    import pyarrow.compute as pc

    fits = pc.fill_null(pc.match_substring_regex(texts, _DECIMAL), False)
    if not pc.any(fits).as_py() or pc.any(pc.match_substring_regex(texts, _LEADING_ZERO)).as_py():
        return False
    return bool((_mask(fits) | missing(texts)).all())


def _mask(found: Any) -> NDArray[np.bool_]:
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=bool)
