"""Evidence that one model is better than another: a test that may be looked at after every batch.

For row t let d_t in [-1, 1] be the loss of the model that serves less the loss of the other one,
both in [0, 1]. The null hypothesis is that the other one is not better by more than a margin m: the
mean of d_t, given all that came before, is at most m. A gambler who bets the share s of a wealth
of 1 on every row against it has

    W_t(s) = prod over i <= t of (1 + s (d_i - m)),

a nonnegative supermartingale under the null hypothesis; so is the mean over several shares s. By
Ville's inequality the probability that it ever reaches 1 / alpha is at most alpha, whatever the
number of looks: it is an e-process. The order of the rows does not matter, so the result is the
same in one process or twenty.

Sources: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
Journal of the Royal Statistical Society B 86 (2024), https://doi.org/10.1093/jrsssb/qkad009;
Shekhar and Ramdas, "Nonparametric two-sample testing by betting", IEEE Transactions on Information
Theory 70 (2024), https://doi.org/10.1109/TIT.2023.3305867.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perdure.config import Task
from perdure.records import Evidence

STAKES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Shares of the wealth that are bet. The best one is near mean / variance of the differences: 0.1
to 0.4 for models that differ by 0.02 to 0.05 and disagree on 15 % of the rows. The price of not
knowing it is at most log 5 in the logarithm of the wealth."""
LARGEST_LOG_LOSS = 5.0
"""Nats; a probability below 0.7 % of the true class counts as 0.7 %."""
LARGEST_ERROR = 2.0
"""Standard deviations of the target; a larger error of a regression counts as this."""


def collect(evidence: Evidence, differences: NDArray[np.float64], margin: float = 0.0) -> Evidence:
    """Add the rows of one experience.

    Args:
        evidence: What the rows before them gave.
        differences: `(rows,)` in [-1, 1]: the loss of the model that serves less that of the other.
        margin: The other one must be better by more than this; at least 0, below 0.25.
    """
    count = len(differences)
    gains = differences - margin
    # log1p(-0.8 * 1.25) is minus infinity: the margin's bound keeps every bet above ruin.
    added = [float(np.log1p(stake * gains).sum()) for stake in STAKES]
    before = evidence.log_wealth or (0.0,) * len(STAKES)
    rows = evidence.rows + count
    total = evidence.difference * evidence.rows + float(differences.sum())
    return Evidence(
        rows=rows,
        experiences=evidence.experiences + 1,
        difference=total / rows if rows else 0.0,
        log_wealth=tuple(w + a for w, a in zip(before, added, strict=True)),
    )


def shows(evidence: Evidence, alpha: float) -> bool:
    """Whether the null hypothesis is rejected: the wealth is at least 1 / alpha."""
    return evidence.log_e >= -math.log(alpha)


def losses(
    task: Task,
    metric: str,
    truth: NDArray[Any],
    outputs: NDArray[np.floating[Any]],
    spread: float = 1.0,
) -> NDArray[np.float64]:
    """The loss of each row, in [0, 1], that goes with a metric.

    - `accuracy`: 0 or 1.
    - `balanced_accuracy`, `macro_f1`: 0 or 1, times the frequency of the rarest class among the
      rows over that of the row's own: every class counts alike.
    - `log_loss`: at most 5 nats, divided by 5.
    - `mae`: the absolute error, at most 2 standard deviations of the target, divided by them.
    - `rmse`, `r2`: the squared error, likewise.

    Args:
        task: Classification or regression.
        metric: The configured metric.
        truth: `(rows,)`: class codes, or values in the target's unit.
        outputs: `(rows, classes)` probabilities, or `(rows,)` values.
        spread: Standard deviation of the target, for a regression.

    Returns:
        `(rows,)`. Outputs that are not finite numbers have the loss 1.
    """
    if task == "regression":
        largest = LARGEST_ERROR * (spread if spread > 0 else 1.0)
        error = np.abs(outputs.astype(np.float64) - truth.astype(np.float64)) / largest
        error = np.minimum(np.nan_to_num(error, nan=1.0, posinf=1.0), 1.0)
        return error if metric == "mae" else error**2
    if metric == "log_loss":
        likelihood = outputs[np.arange(len(truth)), truth].astype(np.float64)
        likelihood = np.where(np.isfinite(outputs).all(axis=1), likelihood, 0.0)
        nats: NDArray[np.float64] = -np.log(np.clip(likelihood, math.exp(-LARGEST_LOG_LOSS), 1.0))
        return nats / LARGEST_LOG_LOSS
    lost: NDArray[np.bool_] = ~np.isfinite(outputs).all(axis=1)
    wrong: NDArray[np.bool_] = (outputs.argmax(axis=1) != truth) | lost
    if metric == "accuracy":
        return wrong.astype(np.float64)
    counts = np.bincount(truth, minlength=outputs.shape[1])
    rarest = counts[counts > 0].min(initial=len(truth))
    weights: NDArray[np.float64] = rarest / np.maximum(counts[truth], 1)
    return wrong * weights
