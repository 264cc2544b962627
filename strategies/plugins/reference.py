"""The gradient of memory rows, which `agem` and `gem` hold a step against."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from perdure.config import CONFIG_NAME
from perdure.errors import ConfigError
from perdure.strategies.training.steps import normalises


def reference(
    strategy: Any, rows: list[Tensor], parameters: list[nn.Parameter]
) -> tuple[Tensor, ...]:
    """∇ ℓ(rows), of the loss and of rows as they are trained on: on the device, and augmented.

    Where the loop scales its loss, for float16, this pass is in float32: without a scale small
    gradients become 0, and the loop's own scale was found for other rows, whose gradients alone
    say when it is too high.

    Args:
        strategy: The loop.
        rows: x and y, on any device.
        parameters: Of the loop's model.

    Returns:
        One tensor for each parameter; 0 where the loss does not reach it.
    """
    y = rows[1].to(strategy.device)
    x = rows[0][strategy.group.taken(len(y))].to(strategy.device)
    scaled = strategy.precision.scaler is not None
    with strategy.group.own_draws():
        if strategy.steps.augment is not None:
            x = strategy.steps.augment(x)
        mine = strategy.model(x) if scaled else strategy.outputs(x)
    outputs = strategy.group.whole(mine, len(y))
    loss = strategy._criterion(outputs, y)  # noqa: SLF001 (Avalanche's own plugins do)
    found = torch.autograd.grad(loss, parameters, materialize_grads=True)
    strategy.group.sum(found)
    return found


def rows_needed(model: nn.Module, name: str, **settings: int | None) -> int:
    """Rows that a reference takes at least: as a batch of the loop, 2 with batch normalisation.

    Args:
        model: The loop's.
        name: The strategy's.
        settings: Its settings that bound the rows of a reference.

    Raises:
        ConfigError: One of them never lets there be so many.
    """
    if not normalises(model):
        return 1
    faults = [
        f"training.strategies: {name}: {key} = 1: the model has batch normalisation, which needs "
        "at least 2"
        for key, value in settings.items()
        if value == 1
    ]
    if faults:
        raise ConfigError(CONFIG_NAME, faults)
    return 2
