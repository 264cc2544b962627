"""What makes a column broken: a fault of form that no drift of the world looks like.

A broken column stops learning, so each rule asks for two things: an enormous and robust effect,
and that no past group of rows ever showed the like.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from perdure.tasks.drift.series import Series

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_NOW, LEAST_BEFORE = 20, 30
"""Rows with a value, now and in the reference, below which nothing is called broken."""
FACTOR = 8.0
"""Other units: at least this factor. Smaller ones (pounds, feet, a doubled price) are drift."""
SHAPE = 0.25
"""Other units: divided by the factor, a KS distance of at most this from what was seen."""
OPPOSITE = 0.5
"""Used where every value has the sign that no value had."""
APART, APART_OF_FEW, ALIKE = 0.4, 0.9, 0.35
"""Swapped: each at least so far from itself (KS), with few past experiences farther; and at most
this part of it from the other."""
SWAPPABLE = 12
"""Pairs are looked for among so many columns, those that moved most."""
FEW = 20
"""A column of fewer distinct values may be a code or a flag."""
PAST_EXPERIENCES = 3
"""Whole numbers that are constant may be a code; broken only after so many that varied."""


def broken(one: Series, groups: NDArray[np.int64], count: int, experiences: int) -> str:
    """Why a column is broken, in words; empty: it is not.

    Args:
        one: The column.
        groups: (reference rows,): the past group of each row, -1 for none.
        count: Past groups.
        experiences: Past experiences in the reference.
    """
    if not one.can_break or len(one.now) < LEAST_NOW or len(one.before) < LEAST_BEFORE:
        return ""
    if reason := _all_missing(one, groups, count):
        return reason
    if not one.numeric:
        return ""
    before, now = _present(one.before), _present(one.now)
    if len(before) < LEAST_BEFORE or len(now) < LEAST_NOW:
        return ""
    return _constant(one, groups, count, experiences) or _other_units(one, groups, count)


def _all_missing(one: Series, groups: NDArray[np.int64], count: int) -> str:
    gone, was_gone = _missing(one.now, one.numeric), _missing(one.before, one.numeric)
    if gone.mean() < 0.99:
        return ""
    most = max((float(was_gone[groups == g].mean()) for g in range(count)), default=1.0)
    if max(most, float(was_gone.mean())) > 0.5 or _longest_run(was_gone, len(gone)):
        return ""
    return (
        f"all {len(gone):,} values are missing; before, at most {most:.0%} were missing at a time"
    )


def _constant(one: Series, groups: NDArray[np.int64], count: int, experiences: int) -> str:
    before, now = _present(one.before), _present(one.now)
    value = now[0]
    if not (now == value).all() or not np.isfinite(value):
        return ""
    distinct = np.unique(before)
    if len(distinct) < FEW:
        return ""  # a flag or a code, that may well be the same for a while
    low, high = float(distinct[0]), float(distinct[-1])
    reach = high - low
    whole = bool(np.all(np.mod(distinct[np.isfinite(distinct)], 1) == 0))
    if high < value <= high + reach or (whole and low - reach <= value < low):
        return ""  # just beyond what was seen: a date or a counter
    if whole and experiences < PAST_EXPERIENCES and low <= value <= high:
        return ""
    most = max((_mode_share(one.before[groups == g]) for g in range(count)), default=1.0)
    same = np.r_[False, one.before[1:] == one.before[:-1]]
    if most >= 0.5 or _longest_run(same, len(now)):
        return ""
    return (
        f"all {len(now):,} values are {value:.6g}; "
        f"before, at most {most:.0%} of the values were equal at a time"
    )


def _other_units(one: Series, groups: NDArray[np.int64], count: int) -> str:
    before, now = one.before, _present(one.now)
    level, level_now = _log_level(before), _log_level(now)
    if level is None or level_now is None or abs(level_now - level) < np.log(FACTOR):
        return ""
    past = [_log_level(before[groups == g]) for g in range(count)]
    moved = max((abs(p - level) for p in past if p is not None), default=0.0)
    if abs(level_now - level) < 2 * moved:
        return ""
    factor = float(np.exp(level_now - level))
    whole = _present(before)
    opposite = _opposite(whole, now)
    if min(len(np.unique(whole)), len(np.unique(now))) < 3 and not opposite:
        return ""  # a flag or a code of one or two values
    seen = [whole, *(_present(before[groups == g]) for g in range(count))]
    seen = [part for part in seen if len(part) >= LEAST_NOW]
    for sign in (1.0, -1.0):
        shape = min(_ks(_snapped(sign * now / factor), _snapped(part)) for part in seen)
        if shape <= (OPPOSITE if opposite and sign < 0 else SHAPE):
            times = f"×{sign * factor:.3g}" if factor > 1 else f"÷{sign / factor:.3g}"
            return (
                f"the values look like those before {times}: median {np.median(now):.4g}, "
                f"before {np.median(whole):.4g}; other units?"
            )
    return ""


def swapped(
    columns: Sequence[Series], distances: NDArray[np.float64], least: NDArray[np.float64]
) -> Iterator[tuple[int, int, str]]:
    """Pairs of number columns that changed places.

    Args:
        columns: All columns.
        distances: (columns,): KS of each, now against before.
        least: (columns,): so far each must be from itself.

    Yields:
        The positions of the two, and the reason.
    """
    far = [
        i
        for i, one in enumerate(columns)
        if one.numeric
        and one.can_break
        and distances[i] >= least[i]
        and len(_present(one.now)) >= LEAST_NOW
        and min(len(np.unique(_present(v))) for v in (one.before, one.now)) >= FEW
    ]
    far = sorted(far, key=lambda i: (-distances[i], i))[:SWAPPABLE]
    for place, i in enumerate(far):
        for j in far[place + 1 :]:
            one, other = columns[i], columns[j]
            there = _ks(_present(one.now), _present(other.before))
            back = _ks(_present(other.now), _present(one.before))
            if max(there, back) <= ALIKE * min(distances[i], distances[j]):
                yield i, j, f"the values of `{one.name}` and `{other.name}` look swapped"


def _present(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[~np.isnan(values)]


def _missing(values: NDArray[np.float64], numeric: bool) -> NDArray[np.bool_]:
    if numeric:
        return np.isnan(values)
    return np.array([value is None for value in values], dtype=bool)


def _mode_share(values: NDArray[np.float64]) -> float:
    present = _present(values)
    if not len(present):
        return 1.0
    return float(np.unique(present, return_counts=True)[1].max() / len(present))


def _longest_run(flags: NDArray[np.bool_], rows: int) -> bool:
    """Whether rows in a row already were so, over a tenth of the length of what arrives.

    The reference is a sample, about a fifth of the rows.
    """
    longest = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        longest = max(longest, run)
    return longest >= max(4, rows // 10)


def _log_level(values: NDArray[np.float64]) -> float | None:
    """Median of log |x| of what is neither zero nor missing; None: too little of that."""
    there = np.abs(values[np.isfinite(values) & (values != 0)])
    return float(np.median(np.log(there))) if len(there) >= 5 else None


def _opposite(before: NDArray[np.float64], now: NDArray[np.float64]) -> bool:
    """Whether one is never negative and the other never positive."""
    up_down = before.min() >= 0 and now.max() <= 0
    return bool(up_down or (before.max() <= 0 and now.min() >= 0))


def _snapped(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values to some six digits, so that dividing and multiplying gives the same again."""
    mantissa, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.round(mantissa, 6), exponent))


def _ks(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Kolmogorov-Smirnov distance of two samples without missing values."""
    every = np.concatenate([a, b])
    first, second = (np.searchsorted(np.sort(part), every, "right") / len(part) for part in (a, b))
    return float(np.abs(first - second).max())
