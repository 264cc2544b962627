"""Training on all rows so far; see `perdure.strategies.cumulative` and `joint`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from perdure.strategies.learner.state import State, on_cpu
from perdure.strategies.plugins.base import Plugin, SupervisedTemplate, TensorData
from perdure.strategies.plugins.memory import ROW, placed
from perdure.strategies.plugins.model_state import reinitialise


class Cumulative(Plugin):
    """Keep every row, and train on all of them.

    Args:
        reset: Begin with a new model each time.
    """

    def __init__(self, *, reset: bool) -> None:
        super().__init__()
        self._reset = reset
        self._rows: tuple[Tensor, ...] = ()

    def after_train_dataset_adaptation(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Train on the rows of all experiences, the oldest first in memory."""
        new = strategy.experience.dataset.tensors
        if self._rows:
            new = tuple(torch.cat(pair) for pair in zip(self._rows, new, strict=True))
        self._rows = new
        strategy.adapted_dataset = TensorData(new)
        if self._reset:
            reinitialise(strategy)

    def state(self) -> State:
        """`x`, `y` and `task` of every row."""
        return State({n: on_cpu(t) for n, t in zip(ROW, self._rows, strict=False)})

    def restore(self, state: State, strategy: SupervisedTemplate) -> None:
        """Hold the rows again."""
        if state.tensors:
            self._rows = tuple(placed(state.tensors[n], strategy) for n in ROW)
