"""Whole batches of tensors, in the order that stock Avalanche would give.

A stock loader fetches row by row and collates: on a table that is most of the time. This one
indexes tensors by a batch of numbers. It draws the same random numbers in the same order as
`torch.utils.data.DataLoader` under Avalanche's `TaskBalancedDataLoader` (one task) and
`ReplayDataLoader`, so the batches, and the weights, are the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

Rows = Sequence[Tensor]
"""Tensors of one length: x, y and task labels."""


def _draw() -> int:
    # As RandomSampler and DataLoader draw their seeds.
    return int(torch.empty((), dtype=torch.int64).random_().item())


def _shuffled(rows: int, batch_size: int) -> Iterator[Tensor]:
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(_draw()))
    yield from torch.split(order, batch_size)


class BatchLoader:
    """Batches of new rows, each with a batch from the memory after it.

    An epoch is one pass over the new rows; the memory is begun anew, shuffled again, as
    often as it takes.

    Args:
        new: Tensors of the new rows.
        batch_size: New rows in a batch; the last may have fewer.
        memory: Tensors of the memory, or None.
        memory_batch_size: Memory rows in a batch.
    """

    def __init__(
        self, new: Rows, batch_size: int, memory: Rows | None = None, memory_batch_size: int = 0
    ) -> None:
        self._new, self._batch_size = new, batch_size
        self._memory, self._memory_batch_size = memory, memory_batch_size
        self.new_rows = 0
        """New rows in the batch that was given last; they come first in it."""

    def __len__(self) -> int:
        return -(-len(self._new[0]) // self._batch_size)

    def __iter__(self) -> Iterator[list[Tensor]]:
        _draw()  # the seed that a DataLoader draws for its workers, also when it has none
        memory: Iterator[Tensor] = iter(())
        for order in _shuffled(len(self._new[0]), self._batch_size):
            batch = _take(self._new, order)
            self.new_rows = len(order)
            if self._memory is not None:
                chosen = next(memory, None)
                if chosen is None:
                    memory = _shuffled(len(self._memory[0]), self._memory_batch_size)
                    chosen = next(memory)
                extra = _take(self._memory, chosen)
                batch = [torch.cat(pair) for pair in zip(batch, extra, strict=True)]
            yield batch


def _take(rows: Rows, order: Tensor) -> list[Tensor]:
    order = order.to(rows[0].device)
    return [tensor.index_select(0, order) for tensor in rows]
