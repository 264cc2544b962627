"""Distances between groups of rows, column by column and all columns together.

A column becomes codes once; every distance is then of a small table of counts, groups by codes.
The cost is bounded by the reference's rows, `BINS` and the number of groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 512
"""A column of numbers is compared at so many quantiles of the reference, and between them."""
WORDS = 1000
"""At most so many words of the reference are compared each by itself."""
SELDOM = 5
"""A word of fewer rows of the reference is not compared by itself."""


@dataclass(frozen=True)
class Codes:
    """A column as codes: 0 is missing; of numbers, a larger code is a larger number."""

    before: NDArray[np.int64]
    now: NDArray[np.int64]
    size: int
    ordered: bool


def of_numbers(before: NDArray[np.float64], now: NDArray[np.float64]) -> Codes:
    """Codes of numbers: one for each of at most `BINS` values of the reference, and between."""
    present = np.sort(before[~np.isnan(before)])
    edges = np.unique(present)
    if len(edges) > BINS:
        edges = np.unique(present[np.linspace(0, len(present) - 1, BINS).astype(np.int64)])
    return Codes(_placed(edges, before), _placed(edges, now), 2 * len(edges) + 2, True)


def _placed(edges: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    # Twice: once for the edges below, once for those below or equal, so that a value between
    # two edges has a code of its own.
    places = 1 + np.searchsorted(edges, values, "left") + np.searchsorted(edges, values, "right")
    return np.where(np.isnan(values), 0, places).astype(np.int64)


def of_words(before: NDArray[Any], now: NDArray[Any]) -> Codes:
    """Codes of words: the reference's frequent ones, each by itself, and all others as one.

    A word that the reference has seldom is one with those that it has not: of a column with
    many rare words a part of what comes next is always new.
    """
    import pandas as pd

    counts = pd.Series(before, dtype=object).dropna().value_counts(sort=False)
    often = [(str(word), int(times)) for word, times in counts.items() if times >= SELDOM]
    ranked = sorted(often, key=lambda item: (-item[1], item[0]))[:WORDS]
    known = {word: 2 + place for place, (word, _) in enumerate(ranked)}
    pair = [
        np.array([0 if word is None else known.get(word, 1) for word in part], dtype=np.int64)
        for part in (before, now)
    ]
    return Codes(pair[0], pair[1], 2 + len(known), False)


def counted(
    codes: NDArray[np.int64], groups: NDArray[np.int64], count: int, size: int
) -> NDArray[np.float64]:
    """How often each code is in each group, (count, size); group -1 is passed over."""
    inside = groups >= 0
    flat = groups[inside] * size + codes[inside]
    return np.bincount(flat, minlength=count * size).reshape(count, size).astype(np.float64)


def shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts as shares of their row; an empty row is 0."""
    found: NDArray[np.float64] = counts / np.maximum(1.0, counts.sum(axis=-1, keepdims=True))
    return found


def between(p: NDArray[np.float64], q: NDArray[np.float64], *, ordered: bool) -> Any:
    """Distance of two distributions over codes, (…, size) to (…,).

    Ordered: Kolmogorov-Smirnov, D = max over x of |P(x) - Q(x)|. Otherwise total variation,
    TV = ½ Σ |p - q|.
    """
    if ordered:
        return np.minimum(1.0, np.abs(np.cumsum(p - q, axis=-1)).max(axis=-1))
    return np.minimum(1.0, 0.5 * np.abs(p - q).sum(axis=-1))


def noise(pool: NDArray[np.float64], inverse: Any, *, ordered: bool) -> Any:
    """Root of the mean square of a distance between two samples of one distribution.

    Args:
        pool: Its shares, (size,).
        inverse: 1/n + 1/m of the two sample sizes.
        ordered: KS: E[D²] ≈ π²/12 · (1/n + 1/m), of the Kolmogorov distribution. Otherwise
            E[TV] ≈ ½ Σ √(2/π · p(1 - p) · (1/n + 1/m)).
    """
    if ordered:
        return np.sqrt(np.pi**2 / 12 * inverse)
    return 0.5 * np.sqrt(2 / np.pi * pool * (1 - pool)).sum() * np.sqrt(inverse)


def chance(pool: NDArray[np.float64], inverse: float, alpha: float, *, ordered: bool) -> float:
    """A distance that two samples of one distribution exceed with a probability of about `alpha`.

    KS: √(ln(2/α)/2 · (1/n + 1/m)) (Kolmogorov's tail). TV: its mean and √(ln(1/α)/2 ·
    (1/n + 1/m)), by McDiarmid's inequality, for one row moves it by 1/n.
    """
    if ordered:
        return float(np.sqrt(np.log(2 / alpha) / 2 * inverse))
    tail = np.sqrt(np.log(1 / alpha) / 2 * inverse)
    return float(noise(pool, inverse, ordered=False) + tail)


@dataclass(frozen=True)
class Joint:
    """Energy coefficients, all columns together."""

    groups: NDArray[np.float64]
    """(groups,): H of each against the others; without bias, so that it may be below 0."""
    now: float
    """√H of what arrives."""
    chance: float
    """What two samples of one distribution exceed with the probability that was asked for."""


def energy(
    features: NDArray[np.float64], groups: NDArray[np.int64], count: int, alpha: float
) -> Joint:
    """Energy distances of groups of rows, all columns together.

        E² = 2 E|X - Y| - E|X - X'| - E|Y - Y'|      (without bias: pairs of different rows)
        H  = E² / (2 E|X - Y|), between 0 and 1

    Székely and Rizzo, "Energy statistics: a class of statistics based on distances", 2013.

    Args:
        features: (rows, width), standardised.
        groups: (rows,): 0 … count - 1 for past groups, `count` for what arrives, -1 for rows of
            the reference that belong to no group.
        count: Past groups.
        alpha: For `chance`.
    """
    from scipy import stats

    squares = np.square(features).sum(axis=1)
    apart = np.sqrt(
        np.maximum(0.0, squares[:, None] + squares[None, :] - 2 * features @ features.T)
    )
    np.fill_diagonal(apart, 0.0)
    slots = np.where(groups < 0, count + 1, groups)
    member = np.zeros((len(slots), count + 2))
    member[np.arange(len(slots)), slots] = 1.0
    sums, sizes = member.T @ apart @ member, member.sum(axis=0)
    past = np.array([*range(count), count + 1])
    each = np.array([_energy(sums, sizes, [i], past[past != i]) for i in range(count)])
    now = float(np.sqrt(max(0.0, _energy(sums, sizes, [count], past))))
    # Under equal distributions E² is a weighted sum of centred chi-squares whose variance is
    # 2 (1/n + 1/m)² · mean h², h the doubly centred distances; one weight alone has the
    # longest tail.
    inside = apart[np.ix_(slots != count, slots != count)]
    if not len(inside) or not sizes[count]:
        return Joint(each, now, 1.0)
    centred = inside - inside.mean(axis=0) - inside.mean(axis=1)[:, None] + inside.mean()
    inverse = 1 / sizes[count] + 1 / len(inside)
    deviation = np.sqrt(2 * np.square(centred).mean()) * inverse
    tail = (stats.chi2.ppf(1 - alpha, 1) - 1) / np.sqrt(2)
    scale = 2 * inside.mean()
    return Joint(each, now, float(min(1.0, np.sqrt(deviation * tail / scale))) if scale else 1.0)


def _energy(sums: NDArray[np.float64], sizes: NDArray[np.float64], one: Any, other: Any) -> float:
    """H of two sets of groups, below 0 by chance; 0 where a set has fewer than two rows."""
    n, m = float(sizes[one].sum()), float(sizes[other].sum())
    if n < 2 or m < 2:
        return 0.0
    across = float(sums[np.ix_(one, other)].sum()) / (n * m)
    within = float(sums[np.ix_(one, one)].sum()) / (n * (n - 1))
    within += float(sums[np.ix_(other, other)].sum()) / (m * (m - 1))
    squared = 2 * across - within
    return squared / (2 * across) if across > 0 else 0.0
