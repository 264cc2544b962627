"""Each row's gradient of a layer's weights, without a backward pass for each row.

One backward pass gives the gradient g of every layer's output; with a, what entered the layer,
row n's gradient of the weights is known:

| layer | row n's gradient of the weight |
|---|---|
| linear, a (rows, in) | g_n a_nᵀ, so Σ_n (g_n a_nᵀ)² = (g²)ᵀ(a²); of absolute values likewise |
| linear, a (rows, ..., in) | Σ_t g_nt a_ntᵀ over the positions t |
| convolution | the same, with the patch around each position as a_nt |
| LSTM | the same, of what enters its gates, after its steps are taken once more |
| embedding | Σ_t g_nt over the positions of the code |
| normalisation | Σ_t g_nt ẑ_nt with ẑ the normalised values |

The bias' is Σ_t g_nt. See Goodfellow 2015, https://arxiv.org/abs/1510.01799, and Rochette,
Manoel and Tramel 2019, https://arxiv.org/abs/1912.06015. A layer that is used several times in
one pass has the sum of these. Whether they hold for a model, `row_gradients` tries.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from perdure.strategies.models.parts import Positions

Tensors = dict[str, Tensor]
Measure = Callable[[Tensor], Tensor]
"""Square or absolute value, item by item."""
Call = tuple[Tensor, Tensor]
"""What entered a layer (rows, ...), and the gradient of what left it (rows, ...)."""


AT_ONCE = 2**20
"""Values of gradients by row held at once in a layer: few enough for a processor's cache."""


class Unfit(Exception):
    """The model has something that these rules do not cover."""


def _linear(layer: nn.Linear, calls: list[Call], measure: Measure) -> Tensors:
    flat = [(_places(a).unsqueeze(1), _places(g)) for a, g in calls]
    bias = _sum(g.sum(dim=1) for _, g in flat)
    weight = _outer(measure, [(a, g.unsqueeze(1)) for a, g in flat], lambda a: a)
    return {"weight": weight[0], **_measured(measure, bias=bias)}


def _places(values: Tensor) -> Tensor:
    """(rows, ..., width) to (rows, places, width)."""
    return values.reshape(len(values), -1, values.shape[-1])


def _convolution(layer: nn.Conv2d, calls: list[Call], measure: Measure) -> Tensors:
    padding = layer.padding
    if layer.padding_mode != "zeros" or isinstance(padding, str):
        raise Unfit(f"padding {padding!r}, {layer.padding_mode}")

    def grouped(values: Tensor) -> Tensor:
        """(rows, channels, places) to (rows, groups, places, channels of a group)."""
        rows, channels, places = values.shape
        split = values.reshape(rows, layer.groups, channels // layer.groups, places)
        return split.transpose(2, 3)

    def patches(entered: Tensor) -> Tensor:
        return grouped(
            functional.unfold(entered, layer.kernel_size, layer.dilation, padding, layer.stride)
        )

    of_groups = [(entered, grouped(g.flatten(2))) for entered, g in calls]
    weight = _outer(measure, of_groups, patches).reshape(layer.weight.shape)
    return {"weight": weight, **_measured(measure, bias=_sum(g.sum(dim=(2, 3)) for _, g in calls))}


def _lstm(layer: nn.LSTM, calls: list[Call], measure: Measure) -> Tensors:
    """The LSTM once more, in plain operations, for the gradient of what enters its gates."""
    plain = layer.num_layers == 1 and layer.batch_first and layer.bias
    if not plain or layer.bidirectional or layer.proj_size:
        raise Unfit("an LSTM of several layers, of both directions, or without bias")
    with_input, with_memory, biases = [], [], []
    own: Any = layer  # whose parameters are set by name
    for entered, gradient in calls:
        memory, slopes = _gates(own, entered, gradient)
        with_input.append((entered.unsqueeze(1), slopes.unsqueeze(1)))
        with_memory.append((memory.unsqueeze(1), slopes.unsqueeze(1)))
        biases.append(slopes.sum(dim=1))
    bias = _sum(iter(biases))
    return {
        "weight_ih_l0": _outer(measure, with_input, lambda a: a)[0],
        "weight_hh_l0": _outer(measure, with_memory, lambda a: a)[0],
        **_measured(measure, bias_ih_l0=bias, bias_hh_l0=bias),
    }


def _gates(layer: Any, entered: Tensor, gradient: Tensor) -> Call:
    """The memory before each step, and the gradient before its gates (rows, steps, 4 hidden)."""
    rows, steps, hidden = gradient.shape
    bias = layer.bias_ih_l0 + layer.bias_hh_l0
    from_input = functional.linear(entered, layer.weight_ih_l0, bias).detach()
    before = from_input.requires_grad_()
    memory = [entered.new_zeros(rows, hidden)]
    cell = entered.new_zeros(rows, hidden)
    weight = layer.weight_hh_l0.detach()
    with torch.enable_grad():
        for step in range(steps):
            gates = before[:, step] + functional.linear(memory[-1], weight)
            keep, forget, new, show = gates.chunk(4, dim=1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(keep) * torch.tanh(new)
            memory.append(torch.sigmoid(show) * torch.tanh(cell))
        states = torch.stack(memory, dim=1)
        (slopes,) = torch.autograd.grad(states[:, 1:], before, gradient)
    return states[:, :-1].detach(), slopes


def _outer(measure: Measure, calls: list[Call], patches: Callable[[Tensor], Tensor]) -> Tensor:
    """Σ_n measure(Σ_t g_nt a_ntᵀ): (groups, out, in).

    Args:
        measure: Square or absolute value.
        calls: What entered (rows, ...), and g (rows, groups, places, out).
        patches: What entered to a (rows, groups, places, in), a part of the rows at a time.
    """
    first, slopes = calls[0]
    if len(calls) == 1 and slopes.shape[2] == 1:
        return torch.einsum("ngto,ngti->goi", measure(slopes), measure(patches(first)))
    one = patches(first[:1])
    step = max(1, AT_ONCE // (slopes.shape[3] * one.shape[1] * one.shape[3] + one.numel()))
    total = slopes.new_zeros(slopes.shape[1], slopes.shape[3], one.shape[3])
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        gradient = _sum(
            torch.einsum("ngto,ngti->ngoi", g[part], patches(a[part])) for a, g in calls
        )
        total += measure(gradient).sum(dim=0)
    return total


def _embedding(layer: nn.Embedding, calls: list[Call], measure: Measure) -> Tensors:
    if layer.scale_grad_by_freq or layer.max_norm is not None or layer.sparse:
        raise Unfit("an embedding with max_norm, scale_grad_by_freq or sparse")
    codes = torch.cat([entered.reshape(len(entered), -1) for entered, _ in calls], dim=1)
    g = torch.cat(
        [gradient.reshape(len(codes), -1, layer.embedding_dim) for _, gradient in calls], dim=1
    )
    # Each pair of a row and a code has one gradient, however often the code is in the row.
    rows = torch.arange(len(codes), device=codes.device).unsqueeze(1)
    kept = codes != (-1 if layer.padding_idx is None else layer.padding_idx)
    pairs, place = torch.unique((rows * layer.num_embeddings + codes)[kept], return_inverse=True)
    of_pair = g.new_zeros(len(pairs), layer.embedding_dim).index_add_(0, place, g[kept])
    total = torch.zeros_like(layer.weight.detach())
    return {"weight": total.index_add_(0, pairs % layer.num_embeddings, measure(of_pair))}


def _layer_norm(layer: nn.LayerNorm, calls: list[Call], measure: Measure) -> Tensors:
    shape = tuple(layer.normalized_shape)
    z = [functional.layer_norm(entered, shape, eps=layer.eps) for entered, _ in calls]
    return _scaled(
        measure, z, [g for _, g in calls], lambda t: t.reshape(len(t), -1, *shape).sum(1)
    )


def _group_norm(layer: nn.GroupNorm, calls: list[Call], measure: Measure) -> Tensors:
    z = [functional.group_norm(entered, layer.num_groups, eps=layer.eps) for entered, _ in calls]
    return _scaled(measure, z, [g for _, g in calls], _by_channel)


def _batch_norm(layer: nn.BatchNorm2d, calls: list[Call], measure: Measure) -> Tensors:
    if layer.running_mean is None or layer.running_var is None:
        raise Unfit("a batch normalisation without running statistics mixes rows")
    z = [
        functional.batch_norm(entered, layer.running_mean, layer.running_var, eps=layer.eps)
        for entered, _ in calls
    ]
    return _scaled(measure, z, [g for _, g in calls], _by_channel)


def _positions(layer: Positions, calls: list[Call], measure: Measure) -> Tensors:
    return _measured(measure, weight=_sum(gradient for _, gradient in calls))


def _scaled(
    measure: Measure, z: list[Tensor], g: list[Tensor], reduce: Callable[[Tensor], Tensor]
) -> Tensors:
    weight = _sum(reduce(a * b) for a, b in zip(z, g, strict=True))
    return _measured(measure, weight=weight, bias=_sum(reduce(b) for b in g))


def _by_channel(values: Tensor) -> Tensor:
    return values.reshape(len(values), values.shape[1], -1).sum(dim=2)


def _sum(parts: Iterable[Tensor]) -> Tensor:
    return functools.reduce(torch.add, parts)


def _measured(measure: Measure, **of_rows: Tensor) -> Tensors:
    return {name: measure(gradient).sum(dim=0) for name, gradient in of_rows.items()}


RULES: dict[type[nn.Module], Callable[[Any, list[Call], Measure], Tensors]] = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.Embedding: _embedding,
    nn.LSTM: _lstm,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    Positions: _positions,
}
"""For each kind of layer: the measured sum over rows for each of its parameters."""
