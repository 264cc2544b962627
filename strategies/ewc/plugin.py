"""Elastic weight consolidation as one quadratic; see `perdure.strategies.ewc`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from perdure.strategies.importance.fisher import Tensors, fisher
from perdure.strategies.learner.state import State, on_cpu
from perdure.strategies.plugins.base import SupervisedTemplate
from perdure.strategies.plugins.quadratic import Quadratic, decayed_sum, load_named


class Ewc(Quadratic):
    """EWC with all quadratics in one.

    Args:
        penalty: λ ≥ 0.
        online: The centre is where the last experience ended, instead of B/A.
        decay: γ, 0 to 1: how much of the importance outlives each later experience.
        rows: Rows that the Fisher information is taken from, at most; None: all.
        proximal: Pull after the optimizer's step, instead of by the gradient.
    """

    def __init__(
        self,
        penalty: float,
        online: bool = False,
        decay: float = 1.0,
        rows: int | None = None,
        proximal: bool = False,
    ) -> None:
        super().__init__(penalty)
        self.online, self.decay, self.rows, self.proximal = online, decay, rows, proximal
        self.pull: Tensors = {}
        """B = Σ F θ; none if online."""
        self._rates: list[float] = []
        self._share: list[Tensor] = []

    def centre(self, name: str, parameter: Tensor) -> Tensor:
        """B/A; where A is 0 it does not matter."""
        if self.online:
            return super().centre(name, parameter)
        a = self.importance[name]
        return torch.where(a > 0, self.pull[name] / a, torch.zeros_like(a))

    def before_update(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Add the penalty's gradient, unless the pull is a step of its own."""
        if not self.proximal:
            super().before_update(strategy, **kwargs)

    @torch.no_grad()
    def after_update(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """θ ← θ + s (c - θ), with s = 2ληA / (1 + 2ληA)."""
        if self.proximal and self.pulls:
            rates = [float(group["lr"]) for group in strategy.optimizer.param_groups]
            if rates != self._rates:
                self._rates, self._share = rates, self._shares(strategy)
            torch._foreach_lerp_(self._parameters, self._centre, self._share)

    def _shares(self, strategy: SupervisedTemplate) -> list[Tensor]:
        rate_of = {
            parameter: float(group["lr"])
            for group in strategy.optimizer.param_groups
            for parameter in group["params"]
        }
        force = [
            rate_of.get(parameter, 0.0) * stiffness
            for parameter, stiffness in zip(self._parameters, self._stiffness, strict=True)
        ]
        return [f / (1 + f) for f in force]

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Add this experience's quadratic."""
        x, y, _ = strategy.experience.dataset.tensors
        loss = strategy._criterion  # noqa: SLF001 (Avalanche's own plugins do)
        new = fisher(strategy.model, loss, x, y, self.rows, strategy.group)
        self.importance = decayed_sum(self.importance, new, self.decay)
        if not self.online:
            parameters = dict(strategy.model.named_parameters())
            pull = {name: f * parameters[name].detach() for name, f in new.items()}
            self.pull = decayed_sum(self.pull, pull, self.decay)
        self._rates, self._share = [], []
        super().after_training_exp(strategy, **kwargs)

    def state(self) -> State:
        """`A/<parameter>` and, unless online, `B/<parameter>`; nothing before the first."""
        state = super().state()
        state.tensors |= {f"B/{name}": on_cpu(value) for name, value in self.pull.items()}
        return state

    def restore(self, state: State, strategy: SupervisedTemplate) -> None:
        """Take A and B up again, in the order of the model's parameters."""
        super().restore(state, strategy)
        if not self.online:
            kept = load_named(state, "B", strategy)
            parameters = dict(strategy.model.named_parameters())
            # It was online until now: then the one centre there is, is where the weights are.
            self.pull = {
                name: kept[name] if name in kept else a * parameters[name].detach()
                for name, a in self.importance.items()
            }
