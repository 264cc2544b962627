"""What each parameter matters: means over rows of one gradient per row.

Diagonal empirical Fisher information (Kirkpatrick et al. 2017, https://arxiv.org/abs/1612.00796):

    F_i = 1/N Σ_n (∂ℓ(f(x_n), y_n) / ∂θ_i)²

Sensitivity of the outputs, for memory aware synapses (Aljundi et al. 2018,
https://arxiv.org/abs/1711.09601):

    Ω_i = 1/N Σ_n |∂‖f(x_n)‖² / ∂θ_i|

Avalanche squares the gradient of a batch's mean, so its importances depend on the batch size;
these do not. How a gradient for each row is had from any model: see `row_gradients`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from perdure.errors import UsageError
from perdure.strategies.importance.layer_rules import Tensors
from perdure.strategies.importance.row_gradients import mean
from perdure.strategies.parallel.group import ALONE, Group

__all__ = ["Loss", "Tensors", "fisher", "sensitivity"]

Loss = Callable[[Tensor, Tensor], Tensor]
"""Objective of outputs (rows, outputs) and targets (rows, ...): a mean over the rows."""


def fisher(
    model: nn.Module,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    rows: int | None = None,
    group: Group = ALONE,
) -> Tensors:
    """F of every parameter that is trained, the model in evaluation mode.

    Args:
        model: Its modes and gradients are as before afterwards. Each row's output must depend
            on that row alone, as it does in evaluation mode.
        loss: Of a single row it is that row's ℓ. So class weights, which a mean over rows
            divides by their sum, are left out: they belong to training, not to the likelihood.
        x: (rows, ...), at least one row, on any device.
        y: (rows, ...).
        rows: At most so many, at least 1, drawn without replacement from torch's random stream
            of the CPU; None, or no fewer than there are: all of them, and nothing is drawn.
        group: The processes that take a part of these rows each.

    Returns:
        By parameter name, in the order of `named_parameters`, each shaped as its parameter.

    Raises:
        UsageError: `rows` is below 1, or x has no row.
    """

    def of_rows(outputs: Tensor, targets: Tensor) -> Tensor:
        losses = [
            loss(o, t)
            for o, t in zip(torch.split(outputs, 1), torch.split(targets, 1), strict=True)
        ]
        return torch.stack(losses).sum()

    def of_batch(outputs: Tensor, targets: Tensor) -> Tensor:
        return loss(outputs, targets) * len(targets)

    chosen = _drawn(len(x), rows)
    if chosen is not None:
        x, y = x[chosen.to(x.device)], y[chosen.to(y.device)]
    # The loss of a batch is the quicker way, where it is the mean of its rows' losses. With class
    # weights it is that of rows of one class alone, which a few rows that are tried may be.
    objectives = (of_rows,) if _weighs(loss) else (of_batch, of_rows)
    return mean(model, torch.square, objectives, x, y, group)


def sensitivity(
    model: nn.Module, x: Tensor, rows: int | None = None, group: Group = ALONE
) -> Tensors:
    """Ω of every parameter that is trained, the model in evaluation mode; needs no target.

    Args and result as for `fisher`.

    Raises:
        UsageError: `rows` is below 1, or x has no row.
    """

    def length(outputs: Tensor, _: Tensor) -> Tensor:
        return outputs.square().sum()

    chosen = _drawn(len(x), rows)
    if chosen is not None:
        x = x[chosen.to(x.device)]
    return mean(model, torch.abs, (length,), x, torch.zeros(len(x)), group)


def _weighs(loss: Loss) -> bool:
    """Whether some classes weigh more than others."""
    weight = getattr(loss, "weight", None)
    return weight is not None and len(torch.unique(weight)) > 1


def _drawn(available: int, rows: int | None) -> Tensor | None:
    """Places of the rows to take, ascending; None: all."""
    if available < 1:
        raise UsageError("importances of 0 rows were asked for; at least 1 is needed")
    if rows is not None and rows < 1:
        raise UsageError(f"importances of {rows} rows were asked for; at least 1 is needed")
    if rows is None or rows >= available:
        return None
    return torch.randperm(available)[:rows].sort().values
