"""Diagonal empirical Fisher information, from one gradient per row.

    F_i = 1/N Σ_n (∂ℓ(f(x_n), y_n) / ∂θ_i)²

Avalanche squares the gradient of a batch's mean, so its importances depend on the batch
size; these do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
"""Of outputs (rows, outputs) and targets, mean over the rows."""

_CHUNK_VALUES = 2**23
"""Gradient values held at once (32 MiB of float32), whatever the size of the model."""

_CHUNK_ROWS = 4096
"""Rows at a time where no gradient per row is held."""


def fisher(model: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> Tensors:
    """F of every parameter that is trained, the model in evaluation mode.

    Args:
        model: Its training mode and its gradients are as before afterwards.
        loss: Mean over the rows.
        x: (rows, ...), at least one row.
        y: (rows, ...).

    Returns:
        By parameter name, in the order of `named_parameters`, each shaped as its parameter.
    """
    was_training = model.training
    model.eval()
    try:
        sums = _by_layers if _layers_suffice(model, loss, x[:2], y[:2]) else _by_rows
        total = sums(model, loss, x, y)
    finally:
        model.train(was_training)
    return {name: value / len(x) for name, value in total.items()}


def _trained(model: nn.Module) -> Tensors:
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def _by_rows(model: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> Tensors:
    """Sum of squared gradients of any model, by one gradient for each row."""
    parameters = _trained(model)
    fixed = {name: buffer.detach() for name, buffer in model.named_buffers()}

    def row_loss(weights: Tensors, x_row: Tensor, y_row: Tensor) -> Tensor:
        outputs = torch.func.functional_call(model, (weights, fixed), (x_row.unsqueeze(0),))
        return loss(outputs, y_row.unsqueeze(0))

    gradients = torch.func.vmap(torch.func.grad(row_loss), in_dims=(None, 0, 0))
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    chunk = max(1, _CHUNK_VALUES // max(1, sum(p.numel() for p in parameters.values())))
    for x_part, y_part in zip(torch.split(x, chunk), torch.split(y, chunk), strict=True):
        for name, gradient in gradients(parameters, x_part, y_part).items():
            total[name] += gradient.square().sum(dim=0)
    return total


def _by_layers(model: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> Tensors:
    """The same of a model of linear layers and embeddings, without a gradient per row.

    With a the input of a linear layer and g the gradient of its output, row n's gradient of
    the weight is g_n a_nᵀ, and so Σ_n (g_n a_nᵀ)² = (g²)ᵀ(a²).
    """
    total = {name: torch.zeros_like(p) for name, p in _trained(model).items()}
    for x_part, y_part in zip(
        torch.split(x, _CHUNK_ROWS), torch.split(y, _CHUNK_ROWS), strict=True
    ):
        with _watched(model) as calls, torch.enable_grad():
            summed = loss(model(x_part), y_part) * len(x_part)
            gradients = torch.autograd.grad(summed, [output for _, _, _, output in calls])
        for (name, layer, entered, _), gradient in zip(calls, gradients, strict=True):
            squared = gradient.square()
            if isinstance(layer, nn.Embedding):
                rows = entered != layer.padding_idx
                total[f"{name}weight"].index_add_(0, entered[rows], squared[rows])
                continue
            total[f"{name}weight"] += squared.t() @ entered.square()
            if layer.bias is not None:
                total[f"{name}bias"] += squared.sum(dim=0)
    return total


Call = tuple[str, Any, Tensor, Tensor]
"""Prefix of the layer's parameters, the layer, its input, its output."""


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[Call]]:
    """Note each call of a linear layer or embedding."""
    calls: list[Call] = []

    def note(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, entered: tuple[Tensor, ...], output: Tensor) -> None:
            calls.append((f"{name}." if name else "", layer, entered[0].detach(), output))

        return hook

    handles = [
        layer.register_forward_hook(note(name))
        for name, layer in model.named_modules()
        if type(layer) in (nn.Linear, nn.Embedding)
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _layers_suffice(model: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> bool:
    """Whether all that is trained is in layers that are used once, row by row.

    Tried on these few rows too: a model may use a layer's weight behind its back.
    """
    with _watched(model) as calls, torch.no_grad():
        model(x)
    names = {
        f"{prefix}{name}"
        for prefix, layer, _, _ in calls
        for name, p in layer.named_parameters()
        if p.requires_grad
    }
    once = len({id(layer) for _, layer, _, _ in calls}) == len(calls)
    flat = all(
        entered.dim() == (1 if isinstance(layer, nn.Embedding) else 2)
        for _, layer, entered, _ in calls
    )
    frozen = any(not p.requires_grad for p in model.parameters())
    if names != set(_trained(model)) or not once or not flat or frozen:
        return False
    exact, fast = _by_rows(model, loss, x, y), _by_layers(model, loss, x, y)
    return all(torch.allclose(exact[n], fast[n], rtol=1e-3, atol=1e-6) for n in exact)
