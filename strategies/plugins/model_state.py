"""Reinitialise the model, and evaluate it without training it: what several plugins do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def reinitialise(strategy: Any) -> None:
    """Give the strategy's model new first weights, and its optimizer nothing to remember.

    In place, so that the optimizer goes on with the same parameters. A model that has learned
    nothing yet is as good as new.
    """
    if strategy.clock.train_exp_counter == 0:
        return
    fresh = strategy.fresh()
    pairs = (
        *zip(strategy.model.parameters(), fresh.parameters(), strict=True),
        *zip(strategy.model.buffers(), fresh.buffers(), strict=True),
    )
    with torch.no_grad():
        for mine, new in pairs:
            mine.copy_(new)
    strategy.optimizer.state.clear()


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, without gradients; as it was afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def outputs(strategy: Any, x: Tensor) -> Tensor:
    """Return the model's outputs in evaluation mode: float32 (rows, outputs), on its device."""

    def of(rows: Tensor) -> Tensor:
        parts = torch.split(rows, _rows(strategy, rows))
        return torch.cat([strategy.outputs(part.to(strategy.device)) for part in parts])

    with eval_mode(strategy.model):
        found: Tensor = strategy.group.each(x, of)
    return found


_VALUES = 2**22
"""Input values that go through the model at once."""


def _rows(strategy: Any, x: Tensor) -> int:
    return max(int(strategy.train_mb_size), _VALUES // max(1, x[:1].numel()))
