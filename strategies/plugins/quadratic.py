"""What EWC, synaptic intelligence and memory aware synapses share: a quadratic penalty.

    λ Σ_i A_i (θ_i - c_i)²        A ≥ 0: importance; c: centre

Its gradient, 2λA(θ - c), needs no autograd: it is added to that of the loss before the
optimizer's step, two passes over the weights whatever the number of experiences. Where A is 0
nothing is added, and the weight moves as in plain training.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from perdure.strategies.importance.fisher import Tensors
from perdure.strategies.learner.state import State, on_cpu
from perdure.strategies.plugins.base import Plugin, SupervisedTemplate


class Quadratic(Plugin):
    """The penalty, from the importance and the centre of each parameter.

    The centre is where the weights are when an experience begins, which is where the last one
    left them: the learner holds it already, so the state does not. A subclass may know better.

    Args:
        penalty: λ ≥ 0.
    """

    def __init__(self, penalty: float) -> None:
        super().__init__()
        self.weight = penalty
        self.importance: Tensors = {}
        """A by parameter; empty before the first experience's end."""
        self._parameters: list[Tensor] = []
        self._importance: list[Tensor] = []
        self._centre: list[Tensor] = []
        self._stiffness: list[Tensor] = []
        self._away: list[Tensor] = []

    @property
    def pulls(self) -> bool:
        """Whether there is anything to hold, in the experience that has begun."""
        return bool(self._parameters)

    def centre(self, name: str, parameter: Tensor) -> Tensor:
        """The centre of one parameter, as an experience begins."""
        return parameter.detach().clone()

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Work out once what the steps need: the centre, and 2λA."""
        held: dict[str, Tensor] = {
            name: parameter
            for name, parameter in strategy.model.named_parameters()
            if self.weight and name in self.importance and parameter.requires_grad
        }
        self._parameters = list(held.values())
        self._importance = [self.importance[name] for name in held]
        self._centre = [self.centre(name, parameter) for name, parameter in held.items()]
        self._stiffness = [2 * self.weight * a for a in self._importance]
        self._away = [torch.empty_like(c) for c in self._centre]

    @torch.no_grad()
    def penalty(self) -> Tensor:
        """λ Σ A (θ - c)², a scalar; at least one experience was learned, one has begun."""
        triples = zip(self._parameters, self._importance, self._centre, strict=True)
        terms = [(a * (parameter - c).square()).sum() for parameter, a, c in triples]
        return self.weight * torch.stack(terms).sum()

    @torch.no_grad()
    def before_update(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Add the penalty's gradient to that of the loss."""
        if self._parameters:
            subtract(self._parameters, self._centre, self._away)
            torch._foreach_addcmul_(gradients(self._parameters), self._stiffness, self._away)

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Let go of what the steps needed."""
        self._parameters = []
        self._importance = self._centre = self._stiffness = self._away = []

    def state(self) -> State:
        """`A/<parameter>`, shaped as its parameter; nothing before the first experience."""
        return State({f"A/{name}": on_cpu(value) for name, value in self.importance.items()})

    def restore(self, state: State, strategy: SupervisedTemplate) -> None:
        """Take A up again, in the order of the model's parameters."""
        self.importance = load_named(state, "A", strategy)


def load_named(state: State, key: str, strategy: SupervisedTemplate) -> Tensors:
    """What `state` has under `<key>/<parameter>`, on the device, in the parameters' order."""
    return {
        name: state.tensors[f"{key}/{name}"].to(strategy.device, copy=True)
        for name, _ in strategy.model.named_parameters()
        if f"{key}/{name}" in state.tensors
    }


def decayed_sum(old: Tensors, new: Tensors, decay: float = 1.0) -> Tensors:
    """The sum γ · old + new, by name; what is in one of them alone is 0 in the other."""
    faded = {name: decay * value for name, value in old.items()}
    both = {name: faded[name] + value if name in faded else value for name, value in new.items()}
    return {**faded, **both}


def subtract(a: list[Tensor], b: list[Tensor], out: list[Tensor]) -> None:
    """Put a - b into `out`, item by item.

    The foreach functions would take new memory for the result, which on a CPU costs more than
    the subtraction, so there it is done one by one.
    """
    if out and out[0].is_cpu:
        for x, y, result in zip(a, b, out, strict=True):
            torch.sub(x, y, out=result)
    else:
        torch._foreach_copy_(out, a)
        torch._foreach_sub_(out, b)


def gradients(parameters: list[Tensor]) -> list[Tensor]:
    """The gradients, to be added to; zeros where the loss did not reach a parameter."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
