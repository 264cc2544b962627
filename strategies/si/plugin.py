"""Synaptic intelligence; see `perdure.strategies.si`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from perdure.strategies.plugins.base import SupervisedTemplate
from perdure.strategies.plugins.quadratic import Quadratic


class SynapticIntelligence(Quadratic):
    """Ω from the path that the weights took.

    Args:
        penalty: c ≥ 0.
        damping: ξ > 0.
    """

    def __init__(self, penalty: float, damping: float) -> None:
        super().__init__(penalty)
        self.damping = damping
        self._watched: dict[str, Tensor] = {}
        self._first: list[Tensor] = []
        self._before: list[Tensor] = []
        self._gradients: list[Tensor] = []
        self._work: list[Tensor] = []
        self._marked: list[Tensor] = []
        self._none = torch.zeros(())

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Begin a new path."""
        super().before_training_exp(strategy, **kwargs)
        named = strategy.model.named_parameters()
        self._watched = {name: p for name, p in named if p.requires_grad}
        self._first = [p.detach().clone() for p in self._watched.values()]
        # Room that every step uses again: allocating it again would cost more than the sums.
        self._before = [torch.empty_like(p) for p in self._first]
        self._gradients = [torch.empty_like(p) for p in self._first]
        self._work = [torch.zeros_like(p) for p in self._first]
        self._marked = []
        self._none = torch.zeros((), device=strategy.device)

    @torch.no_grad()
    def before_update(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Note the weights and the gradient of the loss; then the penalty may come.

        Copies, for the step changes the weights, and penalty and clipping the gradient.
        """
        parameters = list(self._watched.values())
        torch._foreach_copy_(self._before, parameters)
        given = [self._none if p.grad is None else p.grad for p in parameters]
        torch._foreach_copy_(self._gradients, given)
        super().before_update(strategy, **kwargs)

    @torch.no_grad()
    def after_update(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """ω ← ω - g Δθ."""
        back = self._before
        torch._foreach_sub_(back, list(self._watched.values()))
        torch._foreach_addcmul_(self._work, self._gradients, back)

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Ω ← max(0, Ω + ω / (D² + ξ)); the path is over."""
        for (name, parameter), first, work in zip(
            self._watched.items(), self._first, self._work, strict=True
        ):
            new = work / ((parameter.detach() - first).square() + self.damping)
            self.importance[name] = (self.importance.get(name, 0.0) + new).clamp_min(0.0)
        self._first = self._before = self._gradients = self._work = self._marked = []
        super().after_training_exp(strategy, **kwargs)

    def mark(self) -> None:
        """Keep ω as it is at these weights."""
        self._marked = [work.clone() for work in self._work]

    def rewind(self) -> None:
        """ω as it was at the mark."""
        self._work = [work.clone() for work in self._marked]
