"""The training curve: losses by epoch, told without slowing the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from perdure.progress import Advance
from perdure.records import Epoch
from perdure.strategies.plugins.base import Plugin, SupervisedTemplate

_WATCHED_ROWS = 4096
"""Validation rows at a time."""


class Curve(Plugin):
    """Record the mean loss of each epoch, and the loss on rows that are only watched.

    Args:
        loss: Of outputs and targets, mean over rows.
        watched: x and y of the validation rows; may be empty.
        advance: Called after each batch.
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        watched: tuple[Tensor, Tensor],
        advance: Advance,
    ) -> None:
        super().__init__()
        self._loss, self._watched, self._advance = loss, watched, advance
        self._sum: Tensor | float = 0.0
        self._rows = 0
        self._epochs: list[Epoch] = []

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """One for each pass over the rows."""
        return tuple(self._epochs)

    def before_training_epoch(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Begin a new mean."""
        self._sum, self._rows = 0.0, 0

    def after_training_iteration(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Add a batch; the sum stays on the device, for reading it would stop the loop."""
        rows = len(strategy.mb_y)
        self._sum = self._sum + strategy.loss.detach().sum() * rows
        self._rows += rows
        self._advance(1)

    def after_training_epoch(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Close the epoch."""
        self._epochs.append(
            Epoch(len(self._epochs) + 1, float(self._sum) / self._rows, self._measure(strategy))
        )

    def _measure(self, strategy: SupervisedTemplate) -> float | None:
        x, y = self._watched
        if len(x) == 0:
            return None
        strategy.model.eval()
        with torch.no_grad():
            parts = zip(torch.split(x, _WATCHED_ROWS), torch.split(y, _WATCHED_ROWS), strict=True)
            total = sum(float(self._loss(strategy.model(a), b)) * len(a) for a, b in parts)
        strategy.model.train()
        return total / len(x)
