"""Averaged gradient episodic memory; see `perdure.strategies.agem`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from perdure.strategies.learner.state import State
from perdure.strategies.plugins.base import Plugin, SupervisedTemplate
from perdure.strategies.plugins.memory import Memory
from perdure.strategies.plugins.reference import reference, rows_needed

Gradients = list[Tensor] | tuple[Tensor, ...]
"""One tensor for each parameter."""


class Agem(Plugin):
    """Never step against the gradient of a batch from the memory.

    Args:
        size: Rows held at most.
        batch_size: Memory rows of the reference gradient; None: as many as new ones.
    """

    def __init__(self, size: int, batch_size: int | None) -> None:
        super().__init__()
        self.memory = Memory(size, "experience-balanced")
        self._batch_size = batch_size
        self._needed = 1

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """See that a reference can be taken."""
        self._needed = rows_needed(
            strategy.model, "agem", size=self.memory.max_size, batch_size=self._batch_size
        )

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        """Project the gradients, in place."""
        if len(self.memory) < self._needed:
            return
        x, y, _ = self.memory.rows
        count = min(self._batch_size or strategy.train_mb_size, len(x))
        chosen = torch.randint(len(x), (count,)).to(x.device)
        parameters = [p for p in strategy.model.parameters() if p.grad is not None]
        rows = [t.index_select(0, chosen) for t in (x, y)]
        project([p.grad for p in parameters], reference(strategy, rows, parameters))

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Let the rows just learned into the memory."""
        self.memory.post_adapt(strategy, strategy.experience)

    def state(self) -> State:
        """`x`, `y`, `task`, `experience` and `weight`."""
        return self.memory.state()

    def restore(self, state: State, strategy: SupervisedTemplate) -> None:
        """Hold the rows again."""
        self.memory.restore(state, strategy)


def project(gradients: Gradients, reference: Gradients) -> None:
    """Do g ← g - min(0, gᵀr / rᵀr) r, in place and without waiting for an accelerator.

    Where r is not finite g stays as it is: there is no direction to hold it against, and what
    the new rows say is no worse for it. Nor is it held against an r whose length is 0.

    Args:
        gradients: g, one tensor for each parameter.
        reference: r, shaped alike.
    """
    along = dot(gradients, reference)
    if along.is_cpu and not along < 0:  # as in most steps; nothing there has to be waited for
        return
    squared = dot(reference, reference)
    if squared.is_cpu and not torch.isfinite(squared):
        return
    step = along / squared
    step = torch.where((along < 0) & torch.isfinite(step), step, 0.0)
    taken = torch._foreach_mul(reference, step)  # noqa: SLF001 (no public name)
    if not squared.is_cpu:  # 0 times what is not finite; on a CPU that was seen above, for less
        for part in taken:
            part.nan_to_num_(0.0, 0.0, 0.0)
    torch._foreach_sub_(gradients, taken)


def dot(one: Gradients, other: Gradients) -> Tensor:
    """gᵀr over all parameters, a scalar."""
    parts = [torch.dot(a.flatten(), b.flatten()) for a, b in zip(one, other, strict=True)]
    return torch.stack(parts).sum()
