"""What a value of a column of sequences means: numbers in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from perdure.reading import values
from perdure.strategies.features import items

if TYPE_CHECKING:
    import pandas as pd


def as_sequences(column: pd.Series[Any]) -> tuple[values.Objects, values.Mask]:
    """Every value as numbers in order; see `perdure.strategies.features.items.numbers`.

    Returns:
        (rows,) of float64 (items,) | None, None where there are none or it is no such thing;
        and where it is no such thing.
    """
    out, wrong = np.empty(len(column), dtype=object), np.zeros(len(column), dtype=bool)
    for row, value in enumerate(column.tolist()):
        if _missing(value):
            continue
        try:
            found = items.numbers(value)
        except ValueError:
            wrong[row] = True
        else:
            out[row] = found if found.size else None
    return out, wrong


def _missing(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in values.MISSING_NUMBERS
    if hasattr(value, "__len__"):
        return False
    return value is None or type(value).__name__ in {"NAType", "NaTType"} or value != value
