"""Metrics of groups of rows in one pass, and how far each row moves them.

A metric here is a mean over rows, or a smooth function of such means. Its first-order expansion
gives each row an influence φ, with the mean 0 over a group's rows, so that

    metric(sample) ≈ metric(population) + (Σ w φ) / (Σ w)

and the variance of the metric is (Σ w² φ²) / (Σ w)² (delta method; Hampel 1974, "The influence
curve and its role in robust estimation"). Of two models on the same rows the difference of their
influences gives the variance of the difference, with what they have in common taken out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure.config import Task, metrics_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Outputs = NDArray[np.floating[Any]]

LEAST_LIKELIHOOD = 1e-12
"""A probability of 0 for the true class costs 27.6 nats, not everything."""

BINS = 15
"""Bins of the expected calibration error, as Guo et al. have them."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows in groups, with weights.

    Each array has the shape (rows,); groups are numbered from 0, and none is empty.
    """

    number: NDArray[np.int64]
    weights: Floats
    count: int

    @classmethod
    def one(cls, weights: Floats) -> Groups:
        """All rows in one group."""
        return cls(np.zeros(len(weights), dtype=np.int64), weights, 1)

    def sums(self, values: Floats) -> Floats:
        """(groups,): the weighted sums of (rows,) values."""
        return _sums(self.number, self.weights * values, self.count)

    def totals(self) -> Floats:
        """(groups,): the sums of the weights."""
        return _sums(self.number, self.weights, self.count)

    def means(self, values: Floats) -> Floats:
        """(groups,): the weighted means of (rows,) values."""
        result: Floats = self.sums(values) / self.totals()
        return result


Linear = tuple["Floats", "Floats"]
"""A metric's values, (groups,), and the influences, (rows,)."""


def every(
    task: Task, truth: NDArray[Any], outputs: Outputs, groups: Groups
) -> Mapping[str, Floats]:
    """All metrics of a task, (groups,) each; see `evaluation.score`."""
    return {name: linear(name, truth, outputs, groups)[0] for name in metrics_of(task)}


def linear(metric: str, truth: NDArray[Any], outputs: Outputs, groups: Groups) -> Linear:
    """A metric of each group, and the influence of each row on its group's.

    Args:
        metric: One of `config.metrics_of`.
        truth: (rows,): class codes from 0, or values in the target's unit.
        outputs: (rows, classes) probabilities, or (rows,) values.
        groups: Which rows belong together.
    """
    if metric in ("balanced_accuracy", "macro_f1"):
        tables = _Tables.of(truth, outputs, groups)
        return tables.recall() if metric == "balanced_accuracy" else tables.f1()
    if metric in ("rmse", "r2"):
        error = np.square(outputs.astype(np.float64) - truth.astype(np.float64))
        return _rmse(error, groups) if metric == "rmse" else _r2(error, truth, groups)
    return mean(rowwise(metric, truth, outputs), groups)


def rowwise(metric: str, truth: NDArray[Any], outputs: Outputs) -> Floats:
    """(rows,): the scores whose mean is `accuracy`, `log_loss` or `mae`."""
    if metric == "accuracy":
        return right(truth, outputs).astype(np.float64)
    if metric == "log_loss":
        likelihood = outputs[np.arange(len(truth)), truth].astype(np.float64)
        loss: Floats = -np.log(np.clip(likelihood, LEAST_LIKELIHOOD, 1.0))
        return loss
    return np.abs(outputs.astype(np.float64) - truth.astype(np.float64))


def right(truth: NDArray[Any], outputs: Outputs) -> NDArray[np.bool_]:
    """(rows,): whether the most probable class is the true one."""
    result: NDArray[np.bool_] = outputs.argmax(axis=1) == truth
    return result


def constant(task: Task, truth: NDArray[Any], classes: int) -> Outputs:
    """What always predicting the most frequent class (its shares), or the mean, would give."""
    if task == "regression":
        return np.full(len(truth), float(np.mean(truth)))
    shares = np.bincount(truth, minlength=classes) / len(truth)
    return np.tile(shares, (len(truth), 1))


def numbered(owners: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """(rows,): the place of each row's experience in the order of appearance; and their names."""
    import pandas as pd

    number, names = pd.factorize(np.asarray(owners, dtype=object))
    return number.astype(np.int64), [str(name) for name in names]


def mean(values: Floats, groups: Groups) -> Linear:
    """The mean of (rows,) values."""
    means = groups.means(values)
    return means, values - means[groups.number]


def calibration(truth: NDArray[Any], outputs: Outputs, groups: Groups) -> Linear:
    """Expected calibration error of the most probable class, a share.

    `ECE = Σ over bins b of (weight of b) * |accuracy in b - mean probability in b|`, in 15 bins of
    the same width. Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning,
    AAAI 2015; Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    confidence = outputs.max(axis=1).astype(np.float64)
    gap = confidence - right(truth, outputs)
    bins = np.minimum(np.nan_to_num(confidence * BINS).astype(np.int64), BINS - 1)
    cells = groups.number * BINS + bins
    signs = np.sign(np.bincount(cells, groups.weights * gap, groups.count * BINS))
    return mean(signs[cells] * gap, groups)


def _rmse(squares: Floats, groups: Groups) -> Linear:
    """`d sqrt(m) = dm / (2 sqrt(m))`."""
    means = groups.means(squares)
    values = np.sqrt(means)
    slope = np.divide(0.5, values, out=np.zeros_like(values), where=values > 0)
    return values, (squares - means[groups.number]) * slope[groups.number]


def _r2(squares: Floats, truth: NDArray[Any], groups: Groups) -> Linear:
    """`1 - A / B`, a ratio of means; not a number where the truth does not vary."""
    values = truth.astype(np.float64)
    spread = np.square(values - groups.means(values)[groups.number])
    above, below = groups.means(squares), groups.means(spread)
    low = np.full(groups.count, np.inf)
    high = np.full(groups.count, -np.inf)
    np.minimum.at(low, groups.number, values)
    np.maximum.at(high, groups.number, values)
    varies = high > low
    nothing = np.full(groups.count, np.nan)
    ratio = np.divide(above, below, out=nothing.copy(), where=varies)
    scale = np.divide(1.0, below, out=nothing.copy(), where=varies)
    return 1.0 - ratio, -(squares - ratio[groups.number] * spread) * scale[groups.number]


@dataclass(frozen=True, eq=False)
class _Tables:
    """Weights by group and class, (groups, classes); cells of each row, (rows,)."""

    true: Floats
    predicted: Floats
    both: Floats
    of_truth: NDArray[np.int64]
    of_prediction: NDArray[np.int64]
    groups: Groups

    @classmethod
    def of(cls, truth: NDArray[Any], outputs: Outputs, groups: Groups) -> _Tables:
        classes = outputs.shape[1]
        cells = groups.count * classes
        named = outputs.argmax(axis=1)
        of_truth = groups.number * classes + truth
        of_prediction = groups.number * classes + named

        def table(where: NDArray[np.int64], weights: Floats) -> Floats:
            return _sums(where, weights, cells).reshape(groups.count, classes)

        return cls(
            table(of_truth, groups.weights),
            table(of_prediction, groups.weights),
            table(of_truth, groups.weights * (named == truth)),
            of_truth,
            of_prediction,
            groups,
        )

    @property
    def right(self) -> NDArray[np.bool_]:
        result: NDArray[np.bool_] = self.of_truth == self.of_prediction
        return result

    def recall(self) -> Linear:
        """Mean recall of the classes that a group has."""
        present = self.true > 0
        recall = _ratio(self.both, self.true)
        values = (recall * present).sum(axis=1) / present.sum(axis=1)
        share = self._share(present) / self.true.ravel()[self.of_truth]
        return values, (self.right - recall.ravel()[self.of_truth]) * share

    def f1(self) -> Linear:
        """Mean of `2 TP / (T + P)` over the classes that a group has, or that are predicted.

        `dF = (2 dTP - F (dT + dP)) / (T + P)`.
        """
        both = self.true + self.predicted
        present = both > 0
        f1 = _ratio(2 * self.both, both)
        values = (f1 * present).sum(axis=1) / present.sum(axis=1)
        slope = _ratio(f1, both).ravel()
        moved = 2 * self.right / both.ravel()[self.of_truth]
        influence = moved - slope[self.of_truth] - slope[self.of_prediction]
        return values, influence * self._share(present)

    def _share(self, present: NDArray[np.bool_]) -> Floats:
        """(rows,): the weight of the row's group, shared out among its classes."""
        result: Floats = (self.groups.totals() / present.sum(axis=1))[self.groups.number]
        return result


def _sums(where: NDArray[np.int64], values: Floats, count: int) -> Floats:
    """(count,): the sums of (rows,) values by place."""
    result: Floats = np.bincount(where, values, count).astype(np.float64, copy=False)
    return result


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
