"""Averaged gradient episodic memory; see `perdure.strategies.agem`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from perdure.strategies.learner.state import State
from perdure.strategies.plugins.base import Plugin, SupervisedTemplate
from perdure.strategies.plugins.memory import Memory

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

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        """Project the gradients, in place."""
        if not len(self.memory):
            return
        x, y, _ = self.memory.rows
        count = min(self._batch_size or strategy.train_mb_size, len(x))
        chosen = torch.randint(len(x), (count,)).to(x.device)
        parameters = [p for p in strategy.model.parameters() if p.grad is not None]
        x, y = (t.index_select(0, chosen).to(strategy.device) for t in (x, y))
        loss = strategy._criterion(strategy.outputs(x), y)  # noqa: SLF001 (Avalanche's own plugins do)
        reference = torch.autograd.grad(loss, parameters, materialize_grads=True)
        project([p.grad for p in parameters], reference)

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
    """Do g ← g - min(0, gᵀr / rᵀr) r, in place and without waiting for the device.

    Args:
        gradients: g, one tensor for each parameter.
        reference: r, shaped alike.
    """
    along = dot(gradients, reference)
    step = torch.where(along < 0, along / dot(reference, reference), 0.0)
    taken = torch._foreach_mul(reference, step)  # noqa: SLF001 (no public name)
    torch._foreach_sub_(gradients, taken)


def dot(one: Gradients, other: Gradients) -> Tensor:
    """gᵀr over all parameters, a scalar."""
    parts = [torch.dot(a.flatten(), b.flatten()) for a, b in zip(one, other, strict=True)]
    return torch.stack(parts).sum()
