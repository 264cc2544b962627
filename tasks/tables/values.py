"""What the values of a column mean: as numbers, as text, as labels.

The same value gives the same result whether it stood in a CSV as text or in a Parquet file
with a type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perdure.strategies.features import items

if TYPE_CHECKING:
    import pandas as pd

Objects = NDArray[np.object_]
Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]

MISSING_NUMBERS = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "<na>"})
"""What stands for a missing number in text, in any case. (A category is missing only where
the field is empty: `NA` may be Namibia.)"""
_NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"
_INFINITE = r"^(?i)[+-]?inf(inity)?$"
DATE = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$"
_INTEGER = r"^[+-]?\d{1,18}(\.0*)?$"


def as_text(column: pd.Series[Any]) -> Objects:
    """Every value as it would stand in a CSV; None where there is none, (rows,) of str | None."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind in "mM":
        texts = column.astype(str).to_numpy(dtype=object)
        texts[column.isna().to_numpy()] = None
        return texts
    out = np.empty(len(column), dtype=object)
    out[:] = [_text(value) for value in column.tolist()]
    return out


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    if hasattr(value, "__len__"):  # of bytes and lists: as Python shows them, and none is missing
        return str(value.tolist() if isinstance(value, np.ndarray) else value)
    if value is None or value != value or type(value).__name__ in {"NAType", "NaTType"}:
        return None
    return repr(value) if isinstance(value, float) else str(value)


def as_numbers(column: pd.Series[Any]) -> tuple[Numbers, Mask]:
    """Every value as a number.

    Returns:
        float64 (rows,), NaN where there is none or it is no number; and where it is no number.
        Infinities stay.
    """
    import pandas as pd

    if column.dtype.kind in "iuf" and not isinstance(column.dtype, pd.CategoricalDtype):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
        return numbers, np.zeros(len(column), dtype=bool)
    texts = as_text(column)
    stripped = np.array([None if t is None else t.strip() for t in texts], dtype=object)
    missing = np.array([t is None or t.lower() in MISSING_NUMBERS for t in stripped], dtype=bool)
    fits = matches(stripped, _NUMBER) | matches(stripped, _INFINITE)
    stripped[~fits] = "nan"
    return stripped.astype(np.float64), ~fits & ~missing


def as_labels(column: pd.Series[Any], kind: type) -> tuple[Objects, Mask]:
    """Every value as a label of type int, str or bool.

    Whole numbers may be written `1.0`; truth values `true`, `TRUE`, `True`.

    Returns:
        (rows,) of label | None, None where there is none or it is not of that type; and where
        it is not of that type.
    """
    texts = as_text(column)
    out = texts.copy()
    if kind is str:
        return out, np.zeros(len(texts), dtype=bool)
    if kind is bool:
        words = {"true": True, "false": False}
        out[:] = [None if t is None else words.get(t.strip().lower()) for t in texts]
    else:
        bare = np.array([None if t is None else t.strip() for t in texts], dtype=object)
        fits = matches(bare, _INTEGER)
        out[:] = [
            int(t.partition(".")[0]) if fit else None for t, fit in zip(bare, fits, strict=True)
        ]
        texts = texts.copy()
        texts[_said_missing(bare)] = None
    wrong = np.array([t is not None and o is None for t, o in zip(texts, out, strict=True)])
    return out, wrong.astype(bool)


def _said_missing(texts: Objects) -> Mask:
    return np.array([t is None or t.lower() in MISSING_NUMBERS for t in texts], dtype=bool)


def as_truth_words(texts: Objects) -> Objects:
    """Spellings of truth values as `True` and `False`, everything else as it is."""
    words = {"true": "True", "false": "False"}
    out = texts.copy()
    out[:] = [t if t is None else words.get(t.strip().lower(), t) for t in texts]
    return out


def as_sequences(column: pd.Series[Any]) -> tuple[Objects, Mask]:
    """Every value as numbers in order; see `perdure.strategies.features.items.numbers`.

    Returns:
        (rows,) of float64 (items,) | None, None where there are none or it is no such thing;
        and where it is no such thing.
    """
    out, wrong = np.empty(len(column), dtype=object), np.zeros(len(column), dtype=bool)
    for row, value in enumerate(column.tolist()):
        if _said_missing_item(value):
            continue
        try:
            found = items.numbers(value)
        except ValueError:
            wrong[row] = True
        else:
            out[row] = found if found.size else None
    return out, wrong


def _said_missing_item(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in MISSING_NUMBERS
    return not hasattr(value, "__len__") and _text(value) is None


def as_texts(column: pd.Series[Any]) -> Objects:
    """Every value as text, (rows,) of str | None; None also where there are spaces alone."""
    out = as_text(column)
    out[:] = [None if text is None or not text.strip() else text for text in out]
    return out


def matches(texts: Objects, pattern: str) -> Mask:
    """Where a text matches an RE2 pattern; missing ones do not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.match_substring_regex(pa.array(texts, pa.large_string()), pattern)
    return np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False), dtype=bool)


def is_number(text: str) -> bool:
    """Whether a text is a number, infinities included."""
    return bool(matches(np.array([text.strip()], dtype=object), f"{_NUMBER}|{_INFINITE}").all())
