"""GDumb; see `perdure.strategies.gdumb`."""

from __future__ import annotations

from typing import Any

from perdure.strategies.learner.state import State
from perdure.strategies.plugins.base import Plugin, SupervisedTemplate, TensorData
from perdure.strategies.plugins.memory import Memory
from perdure.strategies.plugins.model_state import reinitialise


class GDumb(Plugin):
    """Train a new model on a balanced memory, and on nothing else.

    Args:
        size: Rows held at most.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.memory = Memory(size, "class-balanced")

    def after_train_dataset_adaptation(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Let the new rows into the memory, and train a new model on it instead of them."""
        self.memory.post_adapt(strategy, strategy.experience)
        strategy.adapted_dataset = TensorData(self.memory.rows)
        reinitialise(strategy)

    def state(self) -> State:
        """`x`, `y`, `task` and `weight`."""
        return self.memory.state()

    def restore(self, state: State, strategy: SupervisedTemplate) -> None:
        """Hold the rows again."""
        self.memory.restore(state, strategy)
