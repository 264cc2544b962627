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

from perdure.strategies.parallel.group import Group

Rows = Sequence[Tensor]
"""Tensors of one length: x, y and task labels."""

BLOCK = 2**20
"""Bytes that are collected at once: they stay in a processor's cache until they are used."""


def _draw() -> int:
    # As RandomSampler and DataLoader draw their seeds.
    return int(torch.empty((), dtype=torch.int64).random_().item())


def _order(count: int) -> Tensor:
    """Places of so many rows in a new random order."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(_draw()))


def _shuffled(rows: Rows, batch_size: int) -> Iterator[list[Tensor]]:
    """Batches of rows in a new random order.

    A block of batches is collected at once and then split: one call for many batches.
    """
    order = _order(len(rows[0]))
    row_bytes = max(1, sum(t[:1].numel() * t.element_size() for t in rows))
    batches = max(1, BLOCK // (row_bytes * batch_size))
    for places in torch.split(order, batches * batch_size):
        parts = [torch.split(tensor, batch_size) for tensor in _take(rows, places)]
        yield from map(list, zip(*parts, strict=True))


class BatchLoader:
    """Batches of new rows, each with a batch from the memory after it.

    An epoch is one pass over the new rows; the memory is started again, shuffled, as
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

    def shared(self, group: Group) -> Iterator[list[Tensor]]:
        """The batches of `__iter__`, of whose x a process gets no more than its rows.

        Args:
            group: The processes that learn together. y and what stands beside it is of the whole
                batch, in every process; x of `group.taken` of its rows.
        """
        _draw()  # as in __iter__
        memory: Iterator[Tensor] = iter(())
        for new in torch.split(_order(len(self._new[0])), self._batch_size):
            self.new_rows = len(new)
            old = new[:0]
            if self._memory is not None:
                found = next(memory, None)
                if found is None:
                    order = _order(len(self._memory[0]))
                    memory = iter(torch.split(order, self._memory_batch_size))
                    found = next(memory)
                old = found
            mine = group.taken(len(new) + len(old))
            first, last = mine.start, mine.stop
            x = self._collected(
                0, 1, new[first:last], old[max(0, first - len(new)) : max(0, last - len(new))]
            )
            yield x + self._collected(1, None, new, old)

    def _collected(self, begin: int, end: int | None, new: Tensor, old: Tensor) -> list[Tensor]:
        """Rows of some of the tensors: new ones, and behind them those of the memory."""
        taken = _take(self._new[begin:end], new)
        if self._memory is None:
            return taken
        kept = _take(self._memory[begin:end], old)
        return [_joined(*pair) for pair in zip(taken, kept, strict=True)]

    def __iter__(self) -> Iterator[list[Tensor]]:
        _draw()  # the seed that a DataLoader draws for its workers, also when it has none
        memory: Iterator[list[Tensor]] = iter(())
        for batch in _shuffled(self._new, self._batch_size):
            self.new_rows = len(batch[0])
            if self._memory is None:
                yield batch
                continue
            extra = next(memory, None)
            if extra is None:
                memory = _shuffled(self._memory, self._memory_batch_size)
                extra = next(memory)
            yield [_joined(*pair) for pair in zip(batch, extra, strict=True)]


def _take(rows: Rows, order: Tensor) -> list[Tensor]:
    order = order.to(rows[0].device)
    # One value for all rows, as a task label is, is not copied row by row.
    return [
        tensor[: len(order)] if tensor.dim() == 1 and tensor.stride(0) == 0
        else tensor.index_select(0, order)
        for tensor in rows
    ]  # fmt: skip


def _joined(new: Tensor, old: Tensor) -> Tensor:
    if new.device != old.device:  # one of them did not fit on the accelerator
        new, old = (
            t.to(new.device if old.device.type == "cpu" else old.device) for t in (new, old)
        )
    return torch.cat((new, old))
