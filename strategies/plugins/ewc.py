"""Elastic weight consolidation as one quadratic; see `perdure.strategies.ewc`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from perdure.strategies.fisher import Tensors, fisher
from perdure.strategies.plugins.base import Plugin, SupervisedTemplate
from perdure.strategies.state import State, on_cpu


class Ewc(Plugin):
    """EWC with all quadratics in one.

    Args:
        penalty: λ ≥ 0.
    """

    def __init__(self, penalty: float) -> None:
        super().__init__()
        self.weight = penalty
        self.importance: Tensors = {}
        """A = Σ F, by parameter; empty before the first experience's end."""
        self.pull: Tensors = {}
        """B = Σ F θ."""
        self._centre: Tensors = {}

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Work out the centre B/A once; where A is 0 it does not matter."""
        self._centre = {
            name: torch.where(a > 0, self.pull[name] / a, torch.zeros_like(a))
            for name, a in self.importance.items()
        }

    def penalty(self, model: nn.Module) -> Tensor:
        """λ Σ A (θ - B/A)², a scalar; needs at least one experience learned."""
        terms = [
            (self.importance[name] * (parameter - self._centre[name]).square()).sum()
            for name, parameter in model.named_parameters()
            if name in self.importance
        ]
        return self.weight * torch.stack(terms).sum()

    def before_backward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Add the penalty to the loss."""
        if self.importance and self.weight:
            strategy.loss = strategy.loss + self.penalty(strategy.model)

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Add this experience's quadratic."""
        x, y, _ = strategy.experience.dataset.tensors
        new = fisher(strategy.model, strategy._criterion, x, y)  # noqa: SLF001 (Avalanche's own plugins do)
        parameters = dict(strategy.model.named_parameters())
        for name, f in new.items():
            pull = f * parameters[name].detach()
            self.importance[name] = self.importance[name] + f if name in self.importance else f
            self.pull[name] = self.pull[name] + pull if name in self.pull else pull

    def state(self) -> State:
        """`A/<parameter>` and `B/<parameter>`; nothing before the first experience."""
        tensors = {f"A/{name}": on_cpu(value) for name, value in self.importance.items()}
        tensors |= {f"B/{name}": on_cpu(value) for name, value in self.pull.items()}
        return State(tensors)

    def restore(self, state: State, strategy: SupervisedTemplate) -> None:
        """Take A and B up again, in the order of the model's parameters."""
        for name, _ in strategy.model.named_parameters():
            if f"A/{name}" in state.tensors:
                self.importance[name] = state.tensors[f"A/{name}"].to(strategy.device, copy=True)
                self.pull[name] = state.tensors[f"B/{name}"].to(strategy.device, copy=True)
