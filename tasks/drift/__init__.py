"""Drift: how far an arriving experience is from what the champion learned from.

Each column by itself and all together, in units of what past experiences showed. The reference
is the champion's evaluation rows: a sample of every experience that it learned, within a budget
of rows. So nothing more is stored, the cost does not grow with the number of experiences, and
after a rollback the reference is that of the older version.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from perdure.config import DriftConfig, Task
from perdure.records import ColumnDrift, Drift, DriftPoint, Level
from perdure.strategies.features.modules import LIMIT
from perdure.tasks.drift import breaks, distances
from perdure.tasks.drift.distances import Codes
from perdure.tasks.drift.groups import Groups, grouped, order_of
from perdure.tasks.drift.series import Series, series

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

LEAST_EFFECT = 0.1
"""A smaller distance is never drift, however many rows show it."""
EFFECT_OF_FEW, EFFECT_OF_ONE = 0.6, 0.75
"""Used while there are too few experiences to know how much they differ."""
LEAST_GROUPS, LEAST_ROWS = 4, 60
"""With fewer past groups, or rows of the reference, no column is called drifting."""
ERRORS = 2.0
"""Past groups are taken to differ by so many standard errors more than they seem to."""
MOST_ROWS = 20_000
"""Rows of the arriving experience that are compared."""
SAMPLE, SAMPLE_NOW = 1000, 500
"""Rows that all columns together are compared on: of the reference, and of what arrives."""
ONE_OF = 7
"""Words of a category column that the joint distance distinguishes: its most frequent ones."""


MOST_IN_HISTORY = 20
"""Columns of one experience that the history keeps, those that moved most: a version holds the
history, so its size is bounded."""


@dataclass(frozen=True)
class _Limits:
    """Distances of past groups as thresholds for what arrives."""

    distance: NDArray[np.float64]
    """(columns + 1,), the joint distance last."""
    threshold: NDArray[np.float64]
    past: NDArray[np.float64]
    """The largest of a past group."""


def measure(
    reference: pd.DataFrame,
    arriving: pd.DataFrame,
    columns: Sequence[tuple[str, str]],
    config: DriftConfig,
    *,
    owner: str = "_experience",
    target: tuple[str, Task] | None = None,
    statistics: Mapping[str, tuple[float, float]] | None = None,
    vocabulary: Mapping[str, Collection[str]] | None = None,
) -> Drift:
    """Compare an arriving experience with a sample of what the champion learned from.

    With D_i the distance of past experience i from the others (KS of numbers, TV of words, √H of
    all columns together), of m columns and k past experiences:

        x_i = D_i² - what samples of these sizes give by chance
        v = mean of x_i + 2 standard errors
        threshold² = max(max of x_i, F(1 - α/m; 1, k) · v) + q²

    F is the quantile of Fisher's distribution: as if experiences had effects of their own,
    drawn from a normal distribution (a random-effects model), of which k were seen. q is what
    chance alone exceeds with the probability α/m at the arriving number of rows (Bonferroni).
    The threshold is at least `LEAST_EFFECT`: what is significant and small is no drift.

    Fewer than eight past experiences are cut into contiguous chunks, about ten in all; how much
    whole experiences differ is not known then, and only a distance of 0.6 is drift, or of 0.75
    after the first experience.

    Args:
        reference: Raw columns, and the column `owner`; rows of one experience in the order of
            their arrival, experiences in the order of learning.
        arriving: Raw columns; the order of its rows does not matter.
        columns: Name and kind of each feature, as the schema has them.
        config: `[drift]`.
        owner: The column that says which experience a row belongs to.
        target: Its name and task.
        statistics: Mean and scale that the learner standardises number columns with.
        vocabulary: Words that the learner knows, of category columns.

    Raises:
        ValueError: `false_alarms` is `false`: then nothing is compared.
    """
    if config.false_alarms is False:
        raise ValueError("drift.false_alarms = false: drift is switched off")
    found = series(reference, arriving, columns, target, vocabulary or {})
    groups = grouped(reference[owner].to_numpy(dtype=object))
    coded = [_coded(one) for one in found]
    kept = order_of(np.stack([c.now for c in coded], axis=1))[:MOST_ROWS] if coded else ()
    coded = [Codes(c.before, c.now[kept], c.size, c.ordered) for c in coded]
    if not coded or not len(reference) or not len(arriving):
        return Drift("as ever", 0.0, 1.0, len(kept), len(reference), 0, ())
    limits = _limits(coded, groups, config.false_alarms)
    reasons = _broken(found, groups, limits)
    judged = [
        _column(one, limits.distance[j], limits.threshold[j], reasons.get(j, ""), statistics or {})
        for j, one in enumerate(found)
    ]
    joint, most = float(limits.distance[-1]), float(limits.threshold[-1])
    level: Level = "as ever"
    if any(c.level == "broken" for c in judged):
        level = "broken"
    elif joint > most or any(c.level == "drifting" for c in judged):
        level = "drifting"
    ordered = sorted(judged, key=lambda c: (c.level != "broken", -c.ratio))
    sentences = [f"`{c.column}`: {c.reason}" for c in ordered if c.reason]
    if joint > most:
        sentences.append(f"all columns together: distance {joint:.2f}, above {most:.2f}")
    return Drift(
        level,
        joint,
        most,
        len(kept),
        len(reference),
        groups.experiences,
        tuple(judged),
        tuple(sentences),
    )


def extend(
    earlier: Sequence[DriftPoint], experience: str, found: Drift | None, window: int
) -> tuple[DriftPoint, ...]:
    """The history of drift with one more experience, cut to the latest `window`.

    Args:
        earlier: The history of the version that training goes on from.
        experience: What was learned.
        found: Its comparison; None: it was not compared, and the history stays as it is.
        window: The most experiences that are kept.
    """
    if found is None:
        return tuple(earlier[-window:])
    before = [one for one in earlier if one.experience != experience]
    return (*before, found.point(experience, MOST_IN_HISTORY))[-window:]


def _coded(one: Series) -> Codes:
    of = distances.of_numbers if one.numeric else distances.of_words
    return of(one.before, one.now)


def _limits(coded: Sequence[Codes], groups: Groups, alpha: float) -> _Limits:
    """Distances of past groups and of what arrives, and the thresholds."""
    width, count = len(coded) + 1, groups.count
    rows, arrived = len(groups.of_row), len(coded[0].now)
    sizes = np.bincount(groups.of_row[groups.of_row >= 0], minlength=count).astype(np.float64)
    others = np.maximum(1.0, rows - sizes)
    inverse = 1 / np.maximum(1.0, sizes) + 1 / others
    inverse_now = 1 / arrived + 1 / rows
    past, excess = np.zeros((count, width)), np.zeros((count, width))
    distance, chance = np.zeros(width), np.zeros(width)
    for j, c in enumerate(coded):
        pool = distances.shares(np.bincount(c.before, minlength=c.size).astype(np.float64))
        each = distances.shares(distances.counted(c.before, groups.of_row, count, c.size))
        now = distances.shares(np.bincount(c.now, minlength=c.size).astype(np.float64))
        # Of a group against the others: they are the pool without it, so the distance to the
        # pool times n / (n - n_i).
        past[:, j] = distances.between(each, pool, ordered=c.ordered) * rows / others
        expected = distances.noise(pool, inverse, ordered=c.ordered)
        excess[:, j] = past[:, j] ** 2 - expected**2
        distance[j] = distances.between(now, pool, ordered=c.ordered)
        chance[j] = distances.chance(pool, inverse_now, alpha / width, ordered=c.ordered)
    joint = _joint(coded, groups, alpha / width)
    past[:, -1], excess[:, -1] = np.sqrt(np.maximum(0.0, joint.groups)), joint.groups
    distance[-1], chance[-1] = joint.now, joint.chance
    threshold = np.sqrt(_squared(excess, alpha / width, chunks=groups.chunks) + chance**2)
    least = LEAST_EFFECT
    if groups.chunks:
        least = EFFECT_OF_FEW if groups.experiences > 1 else EFFECT_OF_ONE
        least = least if count >= LEAST_GROUPS and rows >= LEAST_ROWS else 1.0
    threshold = np.clip(threshold, least, 1.0)
    return _Limits(distance, threshold, past.max(axis=0, initial=0.0))


def _squared(excess: NDArray[np.float64], alpha: float, *, chunks: bool) -> NDArray[np.float64]:
    """The most that the squared distance may be, beside what the sample sizes give.

    Args:
        excess: (groups, columns): squared distance of each past group, less what its size gives.
        alpha: The rate of false alarms of one column.
        chunks: The groups are parts of experiences.
    """
    from scipy import stats

    count = len(excess)
    if count < 2:
        return np.zeros(excess.shape[1])
    mean = excess.mean(axis=0)
    error = excess.std(axis=0, ddof=1) / np.sqrt(count)
    spread = np.maximum(0.0, mean - error if chunks else mean + ERRORS * error)
    largest = np.maximum(excess.max(axis=0), stats.f.ppf(1 - alpha, 1, count) * spread)
    return np.asarray(largest * (spread > 0))


def _joint(coded: Sequence[Codes], groups: Groups, alpha: float) -> distances.Joint:
    """All columns together, on a sample that does not depend on the order of rows."""
    before = np.stack([c.before for c in coded], axis=1)
    now = np.stack([c.now for c in coded], axis=1)
    ranked = order_of(before)
    share = max(2, SAMPLE // max(1, groups.count))
    chosen = [ranked[groups.of_row[ranked] == g][:share] for g in range(-1, groups.count)]
    rows = np.concatenate(chosen)
    arrived = order_of(now)[:SAMPLE_NOW]
    slots = np.r_[groups.of_row[rows], np.full(len(arrived), groups.count)]
    parts = [_features(c, rows, arrived) for c in coded]
    return distances.energy(np.concatenate(parts, axis=1), slots, groups.count, alpha)


def _features(c: Codes, rows: NDArray[np.int64], arrived: NDArray[np.int64]) -> NDArray[np.float64]:
    """A column, standardised: numbers as their rank in the reference, words as indicators.

    A rank is bounded: one absurd value moves nothing, and what is far outside has the last rank.
    """
    codes = np.r_[c.before[rows], c.now[arrived]]
    counts = np.bincount(c.before, minlength=c.size).astype(np.float64)
    if c.ordered:
        absent = codes == 0
        counts[0] = 0.0
        middle = np.cumsum(counts) - counts / 2
        rank = np.sqrt(12) * (middle / max(1.0, counts.sum()) - 0.5)
        marks = [np.where(absent, 0.0, rank[codes])]
        return np.stack([*marks, absent.astype(np.float64)] if absent.any() else marks, axis=1)
    frequent = np.argsort(-counts, kind="stable")[:ONE_OF]
    known = codes[:, None] == frequent[None, :]
    return np.asarray(np.c_[known, ~known.any(axis=1)], dtype=np.float64)


def _broken(found: Sequence[Series], groups: Groups, limits: _Limits) -> dict[int, str]:
    """Why columns are broken, by position."""
    each = {
        j: breaks.broken(one, groups.of_row, groups.count, groups.experiences)
        for j, one in enumerate(found)
        if limits.distance[j] >= LEAST_EFFECT
    }
    reasons = {j: reason for j, reason in each.items() if reason}
    rest = limits.distance[:-1].copy()
    rest[list(reasons)] = 0.0
    least = breaks.APART_OF_FEW if groups.chunks else breaks.APART
    for i, j, reason in breaks.swapped(found, rest, np.maximum(least, 2 * limits.past[:-1])):
        reasons.setdefault(i, reason)
        reasons.setdefault(j, reason)
    return reasons


def _column(
    one: Series,
    distance: float,
    threshold: float,
    broken: str,
    statistics: Mapping[str, tuple[float, float]],
) -> ColumnDrift:
    absent, absent_before = (_absent(part, one.numeric) for part in (one.now, one.before))
    clamped = unseen = None
    if one.numeric and one.name in statistics:
        clamped = _clamped(one.now, *statistics[one.name])
    if not one.numeric:
        unseen = _unseen(one)
    level: Level = "as ever"
    reason = ""
    if broken:
        level, reason = "broken", broken
    elif distance > threshold:
        level = "drifting"
        reason = f"distance {distance:.2f}, above {threshold:.2f}; {_differs(one, unseen)}"
    return ColumnDrift(
        one.name,
        one.kind,
        level,
        float(distance),
        float(threshold),
        float(absent.mean()),
        float(absent_before.mean()),
        clamped,
        unseen,
        reason,
    )


def _absent(values: NDArray[np.float64], numeric: bool) -> NDArray[np.bool_]:
    return np.isnan(values) if numeric else np.array([v is None for v in values], dtype=bool)


def _clamped(values: NDArray[np.float64], mean: float, scale: float) -> float:
    """Share of the rows whose number the frozen statistics clamp."""
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.mean(np.abs((values - mean) / scale) > LIMIT))


def _unseen(one: Series) -> float:
    """Share of the words that the vocabulary lacks, of those that are not missing."""
    known = set(one.before if one.vocabulary is None else one.vocabulary)
    there = [value for value in one.now if value is not None]
    return sum(value not in known for value in there) / len(there) if there else 0.0


def _differs(one: Series, unseen: float | None) -> str:
    """What differs most, in words."""
    absent, absent_before = (
        float(_absent(part, one.numeric).mean()) for part in (one.now, one.before)
    )
    if abs(absent - absent_before) > 0.1:
        return f"{absent:.0%} missing, before {absent_before:.0%}"
    if one.numeric:
        now, before = (float(np.nanmedian(part)) for part in (one.now, one.before))
        return f"median {now:.4g}, before {before:.4g}"
    if unseen is not None and unseen > 0.1:
        return f"{unseen:.0%} of the words are new"
    names, counts = np.unique([v for v in one.now if v is not None], return_counts=True)
    old, old_counts = np.unique([v for v in one.before if v is not None], return_counts=True)
    now_share = dict(zip(names.tolist(), (counts / max(1, counts.sum())).tolist(), strict=True))
    was = dict(zip(old.tolist(), (old_counts / max(1, old_counts.sum())).tolist(), strict=True))
    moved = max(
        sorted({*now_share, *was}), key=lambda w: abs(now_share.get(w, 0.0) - was.get(w, 0.0))
    )
    return f"{moved}: {now_share.get(moved, 0.0):.0%}, before {was.get(moved, 0.0):.0%}"
