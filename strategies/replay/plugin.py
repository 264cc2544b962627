"""Avalanche's replay on a memory that is tensors; see `perdure.strategies.replay`."""

from __future__ import annotations

from typing import Any

from perdure.strategies.learner.state import State
from perdure.strategies.plugins.base import ReplayPlugin, SupervisedTemplate
from perdure.strategies.plugins.memory import Memory, Policy
from perdure.strategies.training.loader import BatchLoader


class Replay(ReplayPlugin):  # type: ignore[misc]  # Avalanche is untyped
    """Experience replay.

    Args:
        size: Rows held at most.
        batch_size: Memory rows in a batch; None: as many as new ones.
        policy: Which rows stay in the memory.
    """

    def __init__(
        self, size: int, batch_size: int | None = None, policy: Policy = "reservoir"
    ) -> None:
        super().__init__(
            mem_size=size, batch_size_mem=batch_size, storage_policy=Memory(size, policy)
        )

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Mix the memory into the batches."""
        memory = self.storage_policy.rows
        if memory:
            strategy.dataloader = BatchLoader(
                strategy.adapted_dataset.tensors,
                strategy.train_mb_size,
                memory,
                self.batch_size_mem or strategy.train_mb_size,
            )

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Let the rows just learned into the memory."""
        self.storage_policy.post_adapt(strategy, strategy.experience)

    def state(self) -> State:
        """The memory's."""
        state: State = self.storage_policy.state()
        return state

    def restore(self, state: State, strategy: SupervisedTemplate) -> None:
        """The memory's."""
        self.storage_policy.restore(state, strategy)
