"""Replay with asymmetric cross entropy; see `perdure.strategies.er_ace`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from perdure.strategies.learner.state import State
from perdure.strategies.plugins.base import Plugin, SupervisedTemplate
from perdure.strategies.plugins.memory import Memory
from perdure.strategies.training.loader import BatchLoader

_OUT = -1e4
"""The logit of a class that takes no part, where the loss only asks for that of the label."""


class ErAce(Plugin):
    """Experience replay in which new rows compete among the classes of their batch alone.

    Args:
        size: Rows held at most.
        batch_size: Memory rows in a batch; None: as many as new ones.
    """

    def __init__(self, size: int, batch_size: int | None) -> None:
        super().__init__()
        self.memory = Memory(size)
        self._batch_size = batch_size
        self._entered = False

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Let the new rows into the memory, and mix it into the batches.

        They must be in it while they are learned: only memory rows teach the new classes to
        compete with the old ones. Before the first experience there are no old ones.
        """
        if not len(self.memory):
            return
        self.memory.post_adapt(strategy, strategy.experience)
        self._entered = True
        strategy.dataloader = BatchLoader(
            strategy.adapted_dataset.tensors,
            strategy.train_mb_size,
            self.memory.rows,
            self._batch_size or strategy.train_mb_size,
        )

    def objective(self, strategy: Any) -> Tensor:
        """½ (ℓ(new, classes of the batch) + ℓ(memory, all classes)), a scalar."""
        found, y = strategy.mb_output, strategy.mb_y
        loss_of = strategy._criterion  # noqa: SLF001 (Avalanche's own plugins do)
        loss: Tensor
        if not self._entered:
            loss = loss_of(found, y)
            return loss
        count = strategy.new_rows
        new = _among_present(loss_of, found[:count], y[:count])
        loss = 0.5 * (new + loss_of(found[count:], y[count:]))
        return loss

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """After the first experience: let its rows in."""
        if not self._entered:
            self.memory.post_adapt(strategy, strategy.experience)

    def state(self) -> State:
        """`x`, `y`, `task` and `weight`."""
        return self.memory.state()

    def restore(self, state: State, strategy: SupervisedTemplate) -> None:
        """Hold the rows again."""
        self.memory.restore(state, strategy)


def _among_present(loss_of: Any, found: Tensor, y: Tensor) -> Tensor:
    """The cross entropy of rows as if there were no classes but their own, a scalar."""
    smoothing = loss_of.label_smoothing
    if not smoothing:
        present = torch.zeros(found.shape[1], dtype=torch.bool, device=found.device)
        present[y] = True
        loss: Tensor = loss_of(torch.where(present, found, _OUT), y)
        return loss
    # Smoothing asks for the logit of every class, so those that take no part must not be there.
    classes, places = torch.unique(y, return_inverse=True)
    weight = None if loss_of.weight is None else loss_of.weight[classes]
    return functional.cross_entropy(
        found.index_select(1, classes), places, weight, label_smoothing=smoothing
    )
