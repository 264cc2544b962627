"""The columns of two frames, as what drift is measured on: numbers, or words.

Texts, images and sequences are one column each and have no distribution of their own that is
cheap to compare. A few numbers of each row stand for them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure.config import Task

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

TARGET = "target"


@dataclass(frozen=True)
class Series:
    """One thing that is compared: its values before, in the reference's order, and now."""

    name: str
    kind: str
    numeric: bool
    before: NDArray[Any]
    """float64, NaN where missing; or strings, None where missing."""
    now: NDArray[Any]
    can_break: bool = True
    """False for the target and for derived counts: a change of these is never a fault of form."""
    vocabulary: Collection[str] | None = None
    """Known words; None: those of the reference."""


def series(
    reference: pd.DataFrame,
    arriving: pd.DataFrame,
    columns: Sequence[tuple[str, str]],
    target: tuple[str, Task] | None,
    vocabulary: Mapping[str, Collection[str]],
) -> list[Series]:
    """What can be compared: columns that both frames have.

    Args:
        reference: Raw columns.
        arriving: Raw columns.
        columns: Name and kind; the kind `ignore` is passed over.
        target: Its name and task; None: it is not compared.
        vocabulary: The known words of category columns, by name.
    """
    wanted = [(name, kind) for name, kind in columns if kind in _DERIVED or kind in _PLAIN]
    if target is not None:
        wanted.append((target[0], target[1]))
    found: list[Series] = []
    for name, kind in wanted:
        if name in reference.columns and name in arriving.columns:
            pair = (reference[name], arriving[name])
            found += _of(name, kind, *pair, vocabulary.get(name))
    return found


_PLAIN = ("number", "category")


def _of(
    name: str,
    kind: str,
    before: pd.Series[Any],
    now: pd.Series[Any],
    vocabulary: Collection[str] | None,
) -> Iterator[Series]:
    if kind == "number":
        yield Series(name, kind, True, numbers(before), numbers(now))
    elif kind == "category":
        yield Series(name, kind, False, words(before), words(now), vocabulary=vocabulary)
    elif kind == "classification":
        yield Series(name, TARGET, False, words(before), words(now), can_break=False)
    elif kind == "regression":
        yield Series(name, TARGET, True, numbers(before), numbers(now), can_break=False)
    else:
        for what, (of_row, can_break) in _DERIVED[kind].items():
            pair = (_derived(before, of_row), _derived(now, of_row))
            yield Series(f"{name} ({what})", kind, True, *pair, can_break=can_break)


def numbers(column: pd.Series[Any]) -> NDArray[np.float64]:
    """float64, NaN for what is missing or no number."""
    import pandas as pd

    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def words(column: pd.Series[Any]) -> NDArray[Any]:
    """Strings, None for what is missing; 1.0 is the same word as 1."""
    values = column.astype(object)
    absent = values.isna().to_numpy()
    found = np.empty(len(values), dtype=object)
    found[:] = [None if gone else _word(v) for v, gone in zip(values, absent, strict=True)]
    return found


def _word(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _derived(column: pd.Series[Any], of_row: Callable[[Any], float]) -> NDArray[np.float64]:
    return np.array([_safe(of_row, value) for value in column], dtype=np.float64)


def _safe(of_row: Callable[[Any], float], value: Any) -> float:
    """A number of one row; NaN where there is no value or nothing in it."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return np.nan
    return of_row(value)


def _items(value: Any) -> NDArray[np.float64]:
    return np.asarray(value, dtype=np.float64).ravel()


def _pixels(value: Any) -> NDArray[Any]:
    return np.frombuffer(value, np.uint8) if isinstance(value, bytes) else np.asarray(value).ravel()


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else np.nan


def _spread(values: NDArray[Any]) -> float:
    return float(values.std()) if len(values) else np.nan


def _word_length(value: Any) -> float:
    parts = str(value).split()
    return sum(map(len, parts)) / len(parts) if parts else np.nan


_DERIVED: Mapping[str, Mapping[str, tuple[Callable[[Any], float], bool]]] = {
    "text": {
        "words": (lambda value: float(len(str(value).split())), False),
        "letters a word": (_word_length, False),
        "letters that are not ASCII": (
            lambda value: sum(sign > "\x7f" for sign in str(value)) / max(1, len(str(value))),
            False,
        ),
    },
    "image": {
        "brightness": (lambda value: _mean(_pixels(value)), True),
        "contrast": (lambda value: _spread(_pixels(value)), True),
    },
    "sequence": {
        "length": (lambda value: float(len(value)), False),
        "mean": (lambda value: _mean(_items(value)), True),
        "spread": (lambda value: _spread(_items(value)), True),
    },
}
"""For kinds of a single column: what is measured of a value, and whether it can be broken."""
