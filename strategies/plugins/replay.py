"""Avalanche's replay on a memory that is tensors; see `perdure.strategies.replay`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from perdure.strategies.loader import BatchLoader
from perdure.strategies.plugins.base import (
    ReplayPlugin,
    ReservoirSamplingBuffer,
    SupervisedTemplate,
    TensorData,
)
from perdure.strategies.state import State, on_cpu

_NAMES = ("x", "y", "task")


class Reservoir(ReservoirSamplingBuffer):  # type: ignore[misc]  # Avalanche is untyped
    """Avalanche's reservoir with the rows copied out.

    The stock one holds views, and so keeps every past experience whole in memory.
    """

    def fill(self, tensors: list[Tensor], weights: Tensor) -> None:
        """Hold these rows and no others; weights float32 (rows,) on the CPU, descending."""
        self.buffer = TensorData(tensors)
        self._buffer_weights = weights

    @property
    def rows(self) -> list[Tensor]:
        """x, y and task labels of the rows held; empty: none yet."""
        return list(self.buffer.tensors) if len(self.buffer) else []

    @property
    def weights(self) -> Tensor:
        """float32 (rows,), descending."""
        weights: Tensor = self._buffer_weights
        return weights

    def update_from_dataset(self, new_data: TensorData) -> None:
        """Let the new rows draw their weights; keep the highest `max_size` of all."""
        weights = torch.cat([torch.rand(len(new_data)), self.weights])
        weights, order = weights.sort(descending=True)
        order = order[: self.max_size].to(new_data.tensors[0].device)
        held = self.rows
        together = [
            torch.cat([tensor, held[place]]) if held else tensor
            for place, tensor in enumerate(new_data.tensors)
        ]
        kept = [tensor.index_select(0, order) for tensor in together]
        self.fill(kept, weights[: self.max_size].clone())


class Replay(ReplayPlugin):  # type: ignore[misc]  # Avalanche is untyped
    """Experience replay from a reservoir.

    Args:
        size: Rows held at most.
        batch_size: Memory rows in a batch; None: as many as new ones.
    """

    def __init__(self, size: int, batch_size: int | None) -> None:
        super().__init__(
            mem_size=size, batch_size_mem=batch_size, storage_policy=Reservoir(max_size=size)
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
        """`x`, `y`, `task` and `weight`; nothing before the first experience."""
        rows = self.storage_policy.rows
        if not rows:
            return State()
        tensors = {name: on_cpu(tensor) for name, tensor in zip(_NAMES, rows, strict=True)}
        return State({**tensors, "weight": on_cpu(self.storage_policy.weights)})

    def restore(self, state: State, strategy: SupervisedTemplate) -> None:
        """Hold the rows of `state`, of a larger memory those of highest weight."""
        if not state.tensors:
            return
        size = self.mem_size
        rows = [state.tensors[name][:size].to(strategy.device, copy=True) for name in _NAMES]
        self.storage_policy.fill(rows, state.tensors["weight"][:size].clone())
