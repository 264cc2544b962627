"""A bounded memory of rows, as tensors: Avalanche's storage policies with the rows copied out.

Each row draws a weight u ~ U(0, 1) once, when it comes. Which rows stay follows from the
weights alone, so rows that were let go never need to be known again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from perdure.strategies.learner.state import State, on_cpu
from perdure.strategies.plugins.base import (
    AvalancheDataset,
    ReservoirSamplingBuffer,
    SupervisedTemplate,
    TensorData,
)

Policy = Literal["reservoir", "class-balanced", "experience-balanced"]
Columns = Mapping[str, Tensor]
"""Tensors of one length, by name."""

ROW = ("x", "y", "task")
WEIGHT = "weight"
EXPERIENCE = "experience"
UNKNOWN = -1
"""The experience of rows that were kept before their experience was noted."""


class Memory(ReservoirSamplingBuffer):  # type: ignore[misc]  # Avalanche is untyped
    """At most `max_size` rows, chosen as `policy` says.

    - `reservoir`: the rows of highest weight, so that each row ever seen is kept with the same
      probability. Row for row what Avalanche's `ReservoirSamplingBuffer` keeps.
    - `class-balanced`, `experience-balanced`: the same share for each class or experience seen,
      and in it the rows of highest weight, as in Avalanche's `ClassBalancedBuffer` and
      `ExperienceBalancedBuffer`. What a group is too small to fill goes to the others, rows
      that are left over to those of highest weight: no group holds two rows more than another,
      but where that one has no more. With more groups than rows, a random sample of the
      groups has one row each.

    Avalanche's own hold views of the datasets, and so keep every past experience whole.

    Args:
        max_size: Rows held at most.
        policy: Which rows stay.
        beside: Names of what is kept of a row beside x, y and task label.
    """

    def __init__(
        self, max_size: int, policy: Policy = "reservoir", beside: tuple[str, ...] = ()
    ) -> None:
        super().__init__(max_size=max_size)
        self.policy = policy
        grouped = (EXPERIENCE,) if policy == "experience-balanced" else ()
        self._names = (*ROW, *grouped, *beside)
        self.columns: dict[str, Tensor] = {}
        """What is held, by name: `x` (rows, ...), `y` int64 (rows,) or float32 (rows, 1),
        `task` int64 (rows,), perhaps `experience` int64 (rows,), and what is beside; empty
        as long as there is nothing."""

    def __len__(self) -> int:
        return len(self._buffer_weights)

    @property
    def buffer(self) -> AvalancheDataset:
        """The rows held, as Avalanche's other classes take them."""
        return TensorData(self.rows) if self.columns else self._buffer

    @property
    def rows(self) -> list[Tensor]:
        """x, y and task labels of the rows held; empty: none yet."""
        return [self.columns[name] for name in ROW] if self.columns else []

    @property
    def weights(self) -> Tensor:
        """float32 (rows,) on the CPU, descending."""
        weights: Tensor = self._buffer_weights
        return weights

    def post_adapt(self, agent: Any, exp: Any) -> None:
        """Let the rows of an experience in."""
        self.add(columns_of(exp.dataset), agent.clock.train_exp_counter)

    def update_from_dataset(self, new_data: TensorData) -> None:
        """Let rows in."""
        self.add(columns_of(new_data))

    def add(self, new: Columns, experience: int = UNKNOWN) -> Tensor:
        """Let rows in: they draw their weights, and some of the old and new ones go.

        Args:
            new: `x`, `y`, `task` and what is kept beside.
            experience: The number of theirs.

        Returns:
            int64 (rows,), on the CPU: for each row held now its place in `new`, or -1 where it
            was held before.
        """
        if self.policy == "experience-balanced":
            new = {**new, EXPERIENCE: torch.full_like(new["task"], experience)}
        return self._let_in(new, torch.rand(len(new["x"])))

    def absorb(self, other: Memory) -> None:
        """Hold of the rows of both what this one would, had it seen all that the other saw."""
        self._let_in(other.columns, other.weights)

    def _let_in(self, new: Columns, drawn: Tensor) -> Tensor:
        count = len(drawn)
        weights, order = torch.cat([drawn, self.weights]).sort(descending=True)
        places = self._stay(order, new)
        order, weights = order[places], weights[places]
        fresh = order < count
        at = fresh.nonzero()[:, 0], (~fresh).nonzero()[:, 0]
        taken = order[fresh], order[~fresh] - count
        kept = {}
        for name in self._names:
            device = new[name].device
            kept[name] = new[name].new_empty((len(order), *new[name].shape[1:]))
            sources = [new[name], *([self.columns[name]] if self.columns else [])]
            for source, where, chosen in zip(sources, at, taken, strict=False):
                rows = source.index_select(0, chosen.to(device))
                kept[name].index_copy_(0, where.to(device), rows)
        self._hold(kept, weights.clone())
        return torch.where(fresh, order, -1)

    def resize(self, strategy: Any, new_size: int) -> None:
        """Hold at most so many rows from now on."""
        self.max_size = new_size
        if len(self) > new_size:
            places = self._stay(torch.arange(len(self)), None)
            kept = {
                name: column.index_select(0, places.to(column.device))
                for name, column in self.columns.items()
            }
            self._hold(kept, self.weights[places].clone())

    def _hold(self, columns: dict[str, Tensor], weights: Tensor) -> None:
        self.columns = columns
        self._buffer_weights = weights

    def _stay(self, order: Tensor, new: Columns | None) -> Tensor:
        """Which of the rows stay, as places in `order`, ascending.

        Args:
            order: Rows by descending weight: places in the new ones, then in those held.
            new: The new rows; None: there are none.
        """
        if self.policy == "reservoir":
            return torch.arange(min(self.max_size, len(order)))
        name = "y" if self.policy == "class-balanced" else EXPERIENCE
        groups = [source[name].cpu() for source in (new, self.columns) if source]
        return balanced(torch.cat(groups)[order], self.max_size)

    def state(self) -> State:
        """What is held, and `weight`; nothing before the first rows."""
        if not self.columns:
            return State()
        tensors = {name: on_cpu(column) for name, column in self.columns.items()}
        return State({**tensors, WEIGHT: on_cpu(self.weights)})

    def restore(self, state: State, strategy: SupervisedTemplate) -> None:
        """Hold the rows of `state`; of a larger memory, those that would have stayed."""
        if not state.tensors:
            return
        held = dict(state.tensors)
        if EXPERIENCE in self._names and EXPERIENCE not in held:  # another policy until now
            held[EXPERIENCE] = torch.full_like(held["task"], UNKNOWN)
        columns = {name: placed(held[name], strategy) for name in self._names}
        self._hold(columns, held[WEIGHT].clone())
        self.resize(strategy, self.max_size)


def placed(tensor: Tensor, strategy: Any) -> Tensor:
    """A copy where the rows of the strategy are kept: on its device, or else on the CPU."""
    return tensor.to(strategy.rows_device, copy=True)


def columns_of(data: TensorData) -> dict[str, Tensor]:
    """The tensors of a dataset, by name."""
    return dict(zip(ROW, data.tensors, strict=True))


def balanced(groups: Tensor, size: int) -> Tensor:
    """Choose rows so that the groups are as even as they can be.

    The first row of each group, then the second of each, and so on, until there are `size`:
    each group gets all of its rows or, but for one, as many as any other.

    Args:
        groups: int64 (rows,), each row's group; the rows in the order of preference.
        size: Rows to choose at most.

    Returns:
        int64 (chosen,), ascending places.
    """
    by_group = groups.argsort(stable=True)
    _, counts = torch.unique_consecutive(groups[by_group], return_counts=True)
    firsts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    rank = torch.empty_like(by_group)
    rank[by_group] = torch.arange(len(groups)) - firsts
    return rank.argsort(stable=True)[:size].sort().values
