"""Limits inferred from the first values: wide enough for the world to change."""

from __future__ import annotations

import numpy as np

from perdure.tasks.tables.values import Numbers

QUANTILES = (0.005, 0.995)
WIDENED = 5.0
"""The central 99 % of a number's values is widened by this many times its span on each side."""


def limits(found: Numbers) -> tuple[float | None, float | None]:
    """The least and the greatest value to let through; None where no limit makes sense.

    Args:
        found: Finite numbers, at least one.
    """
    # Inward to a value that is there: else one absurd value moves a small table's quantile.
    low = float(np.quantile(found, QUANTILES[0], method="higher"))
    high = float(np.quantile(found, QUANTILES[1], method="lower"))
    with np.errstate(over="ignore"):
        reach = WIDENED * (high - low)
    if not 0.0 < reach < np.inf or not np.isfinite([low - reach, high + reach]).all():
        return None, None
    return _short(low - reach, np.floor, reach), _short(high + reach, np.ceil, reach)


def _short(bound: float, outward: np.ufunc, reach: float) -> float:
    """A bound that reads well: outward to a hundredth of the reach's leading digit or so."""
    digits = 2 - int(np.floor(np.log10(reach)))
    if not 0 <= digits <= 300:
        scale = 10.0 ** min(-digits, 300)
        return float(outward(bound / scale) * scale) if digits < 0 else bound
    return round(float(outward(bound * 10.0**digits)) / 10.0**digits, digits)
