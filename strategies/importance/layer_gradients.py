"""Gradients by row from one backward pass for a chunk of rows, down to the layers' outputs.

See `layer_rules` for what follows from there, and `row_gradients` for where this is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from perdure.strategies.importance.layer_rules import RULES, Call, Measure, Tensors, Unfit

Slopes = Callable[[Tensor], Tensor]
"""Outputs (rows, outputs) to the gradient of each, of the same shape."""


def trained(model: nn.Module) -> Tensors:
    """The values of the parameters that are trained, in the order of `named_parameters`."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def by_layers(model: nn.Module, measure: Measure, x: Tensor, slopes: Slopes) -> Tensors:
    """Sum over rows of the measured gradient, of a model of the layers in `RULES`.

    Raises:
        Unfit: A parameter is in no such layer, or a layer does not work row by row.
    """
    total = {name: torch.zeros_like(p) for name, p in trained(model).items()}
    with torch.enable_grad(), _watched(model) as watched:
        outputs = model(x)
        left = [output for _, noted in watched.values() for _, output in noted]
        gradients = iter(torch.autograd.grad(outputs, left, slopes(outputs), allow_unused=True))
    missing = set(total)
    for prefix, (layer, noted) in watched.items():
        calls = [
            (entered, gradient)
            for (entered, _) in noted
            if (gradient := next(gradients)) is not None
        ]
        if any(len(entered) != len(x) or len(gradient) != len(x) for entered, gradient in calls):
            raise Unfit(f"{prefix} does not work row by row")
        own = {key: f"{prefix}{key}" for key, _ in layer.named_parameters(recurse=False)}
        found = _rule(layer)(layer, calls, measure) if calls else dict.fromkeys(own, 0.0)
        for key in own.keys() & found.keys():
            missing.discard(own[key])
            if own[key] in total:
                total[own[key]] += found[key]
    if missing:
        raise Unfit(f"no rule for {', '.join(sorted(missing))}")
    return total


def _rule(layer: nn.Module) -> Callable[[Any, list[Call], Measure], Mapping[str, Any]]:
    return next(rule for kind, rule in RULES.items() if isinstance(layer, kind))


Watched = dict[str, tuple[nn.Module, list[Call]]]
"""By the prefix of its parameters, each layer and what entered and left it, call by call."""


@contextmanager
def _watched(model: nn.Module) -> Iterator[Watched]:
    """Note each call of a layer that has a rule and parameters."""
    watched: Watched = {}

    def noting(calls: list[Call]) -> Callable[..., Tensor]:
        def hook(_: nn.Module, entered: tuple[Tensor, ...], output: Any) -> Any:
            left, rest = (output[0], output[1:]) if isinstance(output, tuple) else (output, None)
            calls.append((entered[0].detach(), left))
            copy = left.clone()  # what comes next may write into it
            return copy if rest is None else (copy, *rest)

        return hook

    handles = []
    for name, layer in model.named_modules():
        ruled = isinstance(layer, tuple(RULES))
        if ruled and any(p.requires_grad for p in layer.parameters(recurse=False)):
            calls: list[Call] = []
            watched[f"{name}." if name else ""] = (layer, calls)
            handles.append(layer.register_forward_hook(noting(calls)))
    try:
        yield watched
    finally:
        for handle in handles:
            handle.remove()
