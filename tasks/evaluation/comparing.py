"""A candidate beside the champion on the same rows: differences with their standard errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure.config import LOWER_IS_BETTER, Task
from perdure.records import Comparison, Predicted
from perdure.tasks.evaluation import scores
from perdure.tasks.evaluation.scores import Groups

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Outputs = NDArray[np.floating[Any]]

SHARES = frozenset({"accuracy", "balanced_accuracy", "macro_f1"})
"""Metrics that are made of rows that are right or wrong."""

ROWS_LOST = "rows lost"
CALIBRATION = "calibration error"

PAIRED = (1.0, -1.0)
"""Pseudo-rows of a difference of two shares: Bonett and Price, Adjusted Wald confidence interval
for a difference of binomial proportions based on paired data, Journal of Educational and Behavioral
Statistics 37 (2012); Agresti and Min, Statistics in Medicine 24 (2005)."""
SINGLE = (1.0, 1.0, 0.0, 0.0)
"""Pseudo-rows of one share: Agresti and Coull, Approximate is better than "exact" for interval
estimation of binomial proportions, The American Statistician 52 (1998)."""


def compare(
    task: Task,
    metric: str,
    truth: NDArray[Any],
    candidate: Outputs,
    champion: Outputs | None,
    owners: Sequence[str],
    newest: str,
    *,
    half_life: float,
    slices: Mapping[str, NDArray[np.bool_]] | None = None,
) -> dict[str, Comparison]:
    """Compare a candidate with the champion and with a constant prediction, as the gates ask.

    Args:
        task: Classification or regression.
        metric: The metric of the gates.
        truth: `(rows,)`, as `score` takes it.
        candidate: Its outputs, as `score` takes them.
        champion: The champion's on the same rows; None: there is none.
        owners: `(rows,)`, the experience of each row, in the order of learning.
        newest: The experience that was just learned.
        half_life: Experiences after which a row of `past`, a slice or `lost` counts half;
            infinite: all rows count the same.
        slices: By name which rows belong to it, `(rows,)`.

    Returns:
        By key, as `records.Evaluation.comparisons` says.
    """
    number, names = scores.numbered(owners)
    last = len(names) - 1
    recent = 0.5 ** ((last - number) / half_life)
    # Each experience counts the same, as in the average.
    even = (1.0 / np.bincount(number))[number]
    floor = "balanced_accuracy" if metric == "accuracy" else metric
    guess = scores.constant(task, truth, candidate.shape[1] if task == "classification" else 1)
    each = Groups(number, np.ones(len(truth)), len(names))

    found = {
        "floor": paired(floor, truth, candidate, guess, Groups.one(even)),
        "average": single(metric, truth, candidate, each),
    }
    if champion is None:
        return found
    found["champion floor"] = paired(floor, truth, champion, guess, Groups.one(even))

    def on(rows: NDArray[np.bool_]) -> Comparison:
        weights = Groups.one(recent[rows])
        return paired(metric, truth[rows], candidate[rows], champion[rows], weights)

    new = np.asarray(number == last) if names[last] == newest else np.zeros(len(truth), dtype=bool)
    if new.any():
        found["new"] = on(new)
    if not new.all():
        found["past"] = on(~new)
    for name, rows in (slices or {}).items():
        found[f"slice {name}"] = on(rows)
    if task == "classification":
        everything = Groups.one(recent)
        found["lost"] = lost(truth, candidate, champion, everything)
        found["calibration"] = calibration(truth, candidate, champion, everything)
    return found


def predicted(truth: NDArray[Any], candidate: Outputs, champion: Outputs | None) -> Predicted:
    """Count the classes with a row that is predicted right, and the rows of the other classes."""

    def right(outputs: Outputs) -> NDArray[Any]:
        return np.bincount(truth[outputs.argmax(axis=1) == truth], minlength=1)

    ours = right(candidate)
    return Predicted(
        candidate=int(np.count_nonzero(ours)),
        champion=None if champion is None else int(np.count_nonzero(right(champion))),
        present=len(np.unique(truth)),
        others=int(np.count_nonzero(truth != ours.argmax())),
    )


def paired(
    metric: str, truth: NDArray[Any], candidate: Outputs, champion: Outputs, groups: Groups
) -> Comparison:
    """The difference of two models on the same rows; mean over groups.

    Shares get two pseudo-rows, of +1 and -1, and the normal distribution; other metrics Student's t
    with the effective number of rows less one.
    """
    if not len(truth):
        return _nothing(metric)
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    ours, theirs = (scores.linear(metric, truth, one, groups) for one in (candidate, champion))
    return _comparison(
        metric,
        groups,
        _mean(ours[0]),
        _mean(theirs[0]),
        sign * (ours[1] - theirs[1]),
        sign,
        PAIRED if metric in SHARES else (),
        _effective(groups, truth if metric in ("balanced_accuracy", "macro_f1") else None),
    )


def single(metric: str, truth: NDArray[Any], candidate: Outputs, groups: Groups) -> Comparison:
    """A model beside zero; mean over groups. Shares get four pseudo-rows, two of them right."""
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    values, influence = scores.linear(metric, truth, candidate, groups)
    return _comparison(
        metric,
        groups,
        _mean(values),
        0.0,
        sign * influence,
        sign,
        SINGLE if metric in SHARES else (),
        _effective(groups, truth if metric in ("balanced_accuracy", "macro_f1") else None),
    )


def lost(truth: NDArray[Any], candidate: Outputs, champion: Outputs, groups: Groups) -> Comparison:
    """The share of rows that the champion has right and the candidate wrong."""
    gone = scores.right(truth, champion) & ~scores.right(truth, candidate)
    share, influence = scores.mean(gone.astype(np.float64), groups)
    return _comparison(
        ROWS_LOST, groups, _mean(share), 0.0, -influence, -1.0, SINGLE, _effective(groups, None)
    )


def calibration(
    truth: NDArray[Any], candidate: Outputs, champion: Outputs, groups: Groups
) -> Comparison:
    """The expected calibration errors; see `scores.calibration`."""
    ours, theirs = (scores.calibration(truth, one, groups) for one in (candidate, champion))
    return _comparison(
        CALIBRATION,
        groups,
        _mean(ours[0]),
        _mean(theirs[0]),
        theirs[1] - ours[1],
        -1.0,
        (),
        _effective(groups, None),
    )


def _comparison(
    metric: str,
    groups: Groups,
    candidate: float,
    champion: float,
    influence: Floats,
    sign: float,
    pseudo: Sequence[float],
    effective: float,
) -> Comparison:
    """Put a comparison together from the influences of the rows on the difference.

    With n effective rows, their difference m and variance s², and k pseudo-rows p, the centre is
    c = (n m + Σ p) / (n + k), and its variance (n s² + n (m - c)² + Σ (p - c)²) / (n + k)²: for n
    unweighted rows exactly the adjusted Wald intervals. `sign` turns pseudo-rows of what should be
    small. Without pseudo-rows s² is the unbiased one.
    """
    difference = sign * (candidate - champion)
    scale = groups.weights / groups.totals()[groups.number]
    # Over groups that count the same; of those where the metric is a number.
    known = np.isfinite(influence)
    shares = max(1, len(np.unique(groups.number[known])))
    spread = float(np.square(scale * np.where(known, influence, 0.0)).sum()) / shares**2 * effective
    rows, n = _effective(groups, None), effective
    if not math.isfinite(difference) or (not pseudo and n <= 1):
        return Comparison(
            metric, rows, candidate, champion, difference, math.inf, difference, max(n - 1, 0.0)
        )
    if not pseudo:
        error = math.sqrt(spread / (n - 1))
        return Comparison(metric, rows, candidate, champion, difference, error, difference, n - 1)
    extra = [sign * p for p in pseudo]
    total = n + len(extra)
    centre = (n * difference + sum(extra)) / total
    around = sum((p - centre) ** 2 for p in extra)
    error = math.sqrt(n * spread + n * (difference - centre) ** 2 + around) / total
    return Comparison(metric, rows, candidate, champion, difference, error, centre)


def _nothing(metric: str) -> Comparison:
    nan = math.nan
    return Comparison(metric, 0.0, nan, nan, nan, math.inf, nan, 0.0)


def _effective(groups: Groups, truth: NDArray[Any] | None) -> float:
    """The effective number of rows, `(Σ w)² / Σ w²`.

    With a truth, of rows that are weighted so that each class of a group counts the same: what a
    mean over classes stands on.
    """
    weights = groups.weights
    if truth is None:
        shares = weights / groups.totals()[groups.number]
    else:
        cells = groups.number * (int(truth.max()) + 1) + truth
        count = np.bincount(cells, weights)
        present = np.bincount(np.unique(cells) // (int(truth.max()) + 1), minlength=groups.count)
        shares = weights / count[cells] / present[groups.number]
    return float(groups.count**2 / np.square(shares).sum())


def _mean(values: Floats) -> float:
    """Mean over the groups where the metric is a number."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan
