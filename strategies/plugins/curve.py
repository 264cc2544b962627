"""The training curve: losses by epoch, recorded without slowing the loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from perdure.progress import Advance
from perdure.records import Epoch
from perdure.strategies.plugins.base import Plugin

_SHOWN = 0.1
"""Seconds from one sign of progress to the next."""


class Curve(Plugin):
    """Record the mean loss of each epoch, and the loss on rows that are only watched.

    Args:
        loss: Of outputs and targets, for each row or value of it; for the watched ones.
        watched: x and y of the validation rows, on any device; may be empty.
        at_once: Validation rows at a time.
        begin: Called with the number of batches to come; gives what is called as they are done.
        rated: Whether to note the learning rate of each epoch.
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        watched: tuple[Tensor, Tensor],
        at_once: int,
        begin: Callable[[int], Advance],
        *,
        rated: bool = False,
    ) -> None:
        super().__init__()
        self._loss, self._watched, self._at_once = loss, watched, at_once
        self._begin, self.rated = begin, rated
        self._advance: Advance = lambda _done: None
        self._batches, self._done, self._told, self._shown = 0, 0, 0, 0.0
        self._sum = torch.zeros(1)
        self._count = 0
        self._epochs: list[Epoch] = []
        self.losses: Tensor | None = None
        """Loss of each validation row after the last epoch, float64 (rows,); None: no rows."""
        self.rows = 0
        """Rows that went through the network in training, those of a memory included."""
        self.seconds = 0.0
        """What the epochs took, validation left out."""
        self._started = 0.0

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """One for each pass over the rows."""
        return tuple(self._epochs)

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """The batches are known: what the strategies train on is settled."""
        self._batches = len(strategy.dataloader)
        self._advance = self._begin(strategy.train_epochs * self._batches)

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Begin a new mean."""
        self._sum = torch.zeros(1, device=strategy.device)
        self._count = 0
        self._started = self._shown = time.perf_counter()

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Add a batch; the sum stays on the device, for reading it would stop the loop."""
        rows = len(strategy.mbatch[1])
        self._sum.add_(strategy.loss.detach(), alpha=rows)
        self._count += rows
        self._done += 1
        if (now := time.perf_counter()) > self._shown + _SHOWN:
            self._shown = now
            self._show()

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Close the epoch."""
        mean = float(self._sum) / max(1, self._count)  # waits until the device is done
        self.seconds += time.perf_counter() - self._started
        self.rows += self._count
        self._done = (len(self._epochs) + 1) * self._batches  # also those that were left out
        self._show()
        rate = float(strategy.optimizer.param_groups[0]["lr"]) if self.rated else None
        self._epochs.append(Epoch(len(self._epochs) + 1, mean, self._measure(strategy), rate))

    def _show(self) -> None:
        if self._done > self._told:
            self._advance(self._done - self._told)
            self._told = self._done

    def _measure(self, strategy: Any) -> float | None:
        x, y = self._watched
        if len(x) == 0:
            return None
        mine = strategy.group.taken(len(x))
        parts = (torch.split(rows[mine], self._at_once) for rows in (x, y))
        strategy.model.eval()
        with torch.no_grad():
            found = [
                self._loss(strategy.model(a.to(strategy.device)), b.to(strategy.device))
                for a, b in zip(*parts, strict=True)
            ]
            losses = torch.cat([one.reshape(len(one), -1).mean(1) for one in found])
            self.losses = strategy.group.whole(losses, len(x)).cpu().double()
        strategy.model.train()
        return float(self.losses.mean())
