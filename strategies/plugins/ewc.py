"""Elastic weight consolidation as one quadratic; see `perdure.strategies.ewc`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from perdure.strategies.plugins.base import SupervisedPlugin, SupervisedTemplate
from perdure.strategies.state import State, on_cpu

Tensors = dict[str, Tensor]

_CHUNK_VALUES = 2**23
"""Gradient values held at once (32 MiB of float32), whatever the size of the model."""


def fisher(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor
) -> Tensors:
    """Diagonal of the empirical Fisher information, from one gradient per row.

    F_i = 1/N Σ_n (∂ℓ(f(x_n), y_n) / ∂θ_i)², the model in evaluation mode.

    Args:
        model: Its training mode is as before afterwards.
        loss: Of outputs (rows, outputs) and targets, mean over the rows.
        x: (rows, ...).
        y: (rows, ...).

    Returns:
        By parameter name, in the order of `named_parameters`, each shaped as its parameter.
    """
    parameters = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    fixed = {n: b.detach() for n, b in model.named_buffers()}

    def row_loss(weights: Tensors, x_row: Tensor, y_row: Tensor) -> Tensor:
        outputs = torch.func.functional_call(model, (weights, fixed), (x_row.unsqueeze(0),))
        return loss(outputs, y_row.unsqueeze(0))

    gradients = torch.func.vmap(torch.func.grad(row_loss), in_dims=(None, 0, 0))
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    chunk = max(1, _CHUNK_VALUES // max(1, sum(p.numel() for p in parameters.values())))
    was_training = model.training
    model.eval()
    try:
        for x_part, y_part in zip(torch.split(x, chunk), torch.split(y, chunk), strict=True):
            for name, gradient in gradients(parameters, x_part, y_part).items():
                total[name] += gradient.square().sum(dim=0)
    finally:
        model.train(was_training)
    return {name: value / len(x) for name, value in total.items()}


class Ewc(SupervisedPlugin):  # type: ignore[misc]
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
