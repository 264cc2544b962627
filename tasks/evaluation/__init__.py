"""Evaluation: which rows a model is measured on, its metrics, and what it forgot.

The rows travel with the model version: the test rows of every experience that the learner
has learned from, within a fixed budget. So the cost of an evaluation does not grow with
the number of experiences, and after a rollback the rows are those of the older version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure.config import LOWER_IS_BETTER, Task
from perdure.records import Comparison, Evaluation, Matrix, Measured, Metrics, Predicted, Reason
from perdure.tasks.evaluation import scores
from perdure.tasks.evaluation.comparing import compare, predicted
from perdure.tasks.evaluation.scores import Groups, constant, numbered

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "EXPERIENCE",
    "KEY",
    "backward_transfer",
    "compare",
    "constant",
    "extend",
    "forgetting",
    "measure",
    "predicted",
    "rows",
    "score",
    "summarise",
]

EXPERIENCE = "_experience"
KEY = "_key"


def rows(
    earlier: pd.DataFrame | None,
    test: pd.DataFrame,
    keys: NDArray[np.uint64],
    experience: str,
    max_rows: int,
) -> pd.DataFrame:
    """Add an experience's test rows to the evaluation rows, within the budget.

    The budget is shared out evenly: of n experiences each keeps at most `max_rows // n`
    rows, those with the smallest keys. A smaller share is always a part of a larger one. Of more
    than `max_rows` experiences the latest keep one row each.

    Args:
        earlier: The parent version's evaluation rows; None for the first experience.
        test: The new experience's test rows, raw columns.
        keys: `(len(test),)`, the rows' content keys.
        experience: Its id.
        max_rows: The budget, in rows.

    Returns:
        Raw columns and `_experience`, `_key`; experiences in the order of learning.
    """
    import pandas as pd

    added = test.copy()
    added[EXPERIENCE], added[KEY] = experience, keys.astype(np.uint64)
    parts = [added] if earlier is None else [earlier, added]
    together = pd.concat([part for part in parts if len(part)] or [added], ignore_index=True)
    number, names = pd.factorize(together[EXPERIENCE])
    share = max(1, max_rows // max(1, len(names)))
    rank = together.groupby(EXPERIENCE, sort=False)[KEY].rank(method="first")
    return together[(rank <= share) & (number >= len(names) - max_rows)].reset_index(drop=True)


def score(task: Task, truth: NDArray[Any], outputs: NDArray[np.floating[Any]]) -> dict[str, float]:
    """All metrics of a task.

    Args:
        task: Classification or regression.
        truth: `(rows,)`: class codes `0 … classes-1`, or values in the target's unit.
        outputs: `(rows, classes)` probabilities, or `(rows,)` values.

    Returns:
        Classification: `accuracy`, `balanced_accuracy` (mean recall of the classes present),
        `macro_f1`, `log_loss` (nats). Regression: `mae`, `rmse` (target's unit), `r2`
        (not a number where the truth does not vary).
    """
    everything = Groups.one(np.ones(len(truth)))
    return {
        name: float(values[0])
        for name, values in scores.every(task, truth, outputs, everything).items()
    }


def measure(
    task: Task,
    truth: NDArray[Any],
    outputs: NDArray[np.floating[Any]],
    experiences: Sequence[str],
    newest: str,
    window: int | None = None,
) -> Measured:
    """A model's metrics, experience by experience and together.

    Args:
        task: Classification or regression.
        truth: `(rows,)`, as `score` takes it.
        outputs: As `score` takes it.
        experiences: `(rows,)`, the experience that each row belongs to.
        newest: The experience that was just learned.
        window: The latest so many experiences are named one by one; None: all.

    Raises:
        ValueError: There is no row to measure on.
    """
    if len(truth) == 0:
        raise ValueError("no test rows to measure on")
    number, names = numbered(experiences)
    groups = Groups(number, np.ones(len(truth)), len(names))
    found = scores.every(task, truth, outputs, groups)
    by_experience = {
        names[place]: {metric: float(values[place]) for metric, values in found.items()}
        for place in range(max(0, len(names) - (window or len(names))), len(names))
    }
    past = np.array([name != newest for name in names])[number]
    return Measured(
        by_experience=by_experience,
        new=by_experience.get(newest),
        past=score(task, truth[past], outputs[past]) if past.any() else None,
        average={metric: _mean(values) for metric, values in found.items()},
        experiences=len(names),
    )


def summarise(
    *,
    metric: str,
    candidate: Measured,
    champion: Measured | None,
    baseline: Metrics,
    prequential: Metrics | None,
    earlier: Matrix | None,
    newest: str,
    window: int,
    rows_measured: int,
    comparisons: Mapping[str, Comparison] | None = None,
    classes: Predicted | None = None,
    not_finite: int = 0,
    own: Sequence[Reason] = (),
) -> Evaluation:
    """Put the numbers of one learning step together.

    Args:
        metric: The metric of the gates.
        candidate: As `measure` gives it.
        champion: The champion on the same rows.
        baseline: The averages of a constant prediction.
        prequential: The champion on the new experience, before.
        earlier: The parent's accuracy matrix.
        newest: The experience that was learned.
        window: The most experiences that the matrix keeps.
        rows_measured: Test rows.
        comparisons: As `compare` gives them.
        classes: As `predicted` gives it; None: a regression.
        not_finite: Rows where the candidate's output is no finite number.
        own: Findings of the user's own gates.
    """
    matrix = extend(earlier, metric, candidate, newest, window)
    return Evaluation(
        metric=metric,
        candidate=candidate,
        champion=champion,
        baseline=baseline,
        prequential=prequential,
        matrix=matrix,
        forgetting=forgetting(matrix),
        backward_transfer=backward_transfer(matrix),
        rows=rows_measured,
        comparisons=dict(comparisons or {}),
        predicted=classes,
        not_finite=not_finite,
        own=tuple(own),
    )


def extend(
    earlier: Matrix | None, metric: str, candidate: Measured, newest: str, window: int
) -> Matrix:
    """The accuracy matrix with one more row and column, cut to the latest `window`.

    A matrix of another metric cannot be continued; a new one begins.
    """
    if earlier is not None and earlier.metric != metric:
        earlier = None
    names = (*(earlier.experiences if earlier else ()), newest)
    measured: list[float | None] = [
        candidate.by_experience[name][metric] if name in candidate.by_experience else None
        for name in names
    ]
    values = [(*row, None) for row in (earlier.values if earlier else ())] + [tuple(measured)]
    first = max(0, len(names) - window)
    return Matrix(metric, names[first:], tuple(row[first:] for row in values[first:]))


def forgetting(matrix: Matrix) -> float | None:
    """Average forgetting, in units of the metric; positive is worse.

    `F = mean over j<k of (best over l<k of a[l, j]) - a[k, j]`, with the sign turned where
    less is better. Chaudhry et al., Riemannian Walk for Incremental Learning, ECCV 2018.

    Returns:
        None before the second experience.
    """
    sign = -1.0 if matrix.metric in LOWER_IS_BETTER else 1.0
    last = len(matrix.experiences) - 1
    losses = []
    for j in range(last):
        before = [sign * a for row in matrix.values[j:last] if (a := row[j]) is not None]
        now = matrix.values[last][j]
        if before and now is not None:
            losses.append(max(before) - sign * now)
    return float(np.mean(losses)) if losses else None


def backward_transfer(matrix: Matrix) -> float | None:
    """Backward transfer, in units of the metric; positive is better.

    `BWT = mean over j<k of a[k, j] - a[j, j]`, with the sign turned where less is better.
    Lopez-Paz and Ranzato, Gradient Episodic Memory, NeurIPS 2017.

    Returns:
        None before the second experience.
    """
    sign = -1.0 if matrix.metric in LOWER_IS_BETTER else 1.0
    last = len(matrix.experiences) - 1
    gains = [
        sign * (now - then)
        for j in range(last)
        if (now := matrix.values[last][j]) is not None and (then := matrix.values[j][j]) is not None
    ]
    return float(np.mean(gains)) if gains else None


def _mean(values: NDArray[np.float64]) -> float:
    """Mean over the experiences where a metric is a number."""
    finite = values[~np.isnan(values)]
    return float(np.mean(finite)) if len(finite) else float("nan")
