"""Nested values of a user's plugin as plain tensors and JSON, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from perdure.errors import Fault
from perdure.strategies.learner.state import State, on_cpu

_DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip


def to_state(tree: Any, whose: str) -> State:
    """Dicts and lists, nested, of tensors, numbers, strings, booleans and None.

    A tensor is named by its keys, joined by `/`: one that is kept under a parameter's name
    in a dict of its own, as in `{"importance": {"body.0.weight": ...}}`, grows with the
    parameter when classes are added.

    Args:
        tree: What `state_dict()` gave; a dict, whose keys are strings or whole numbers.
        whose: The plugin, as the configuration names it.

    Raises:
        Fault: There is something else in it; says what, and where.
    """
    if not isinstance(tree, Mapping):
        raise Fault(f"{whose}: state_dict() gave a {type(tree).__name__}, no dict")
    state = State()
    state.values["tree"] = _flat(tree, "", "state_dict()", whose, state.tensors)
    return state


def from_state(state: State, device: torch.device) -> Any:
    """What `to_state` was given: dicts and lists, the tensors on the device."""
    return _nested(state.values["tree"], state.tensors, device)


def _flat(value: Any, name: str, place: str, whose: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Mapping):
        for key in value:
            if type(key) not in (str, int):
                raise _strange(whose, place, f"a dict with a key that is a {type(key).__name__}")
        return {
            "dict": [
                [key, _flat(item, _join(name, key), f"{place}[{key!r}]", whose, tensors)]
                for key, item in value.items()
            ]
        }
    if type(value) is list:
        return {
            "list": [
                _flat(item, _join(name, i), f"{place}[{i}]", whose, tensors)
                for i, item in enumerate(value)
            ]
        }
    if isinstance(value, Tensor):
        if value.layout is not torch.strided or value.dtype not in _DTYPES:
            raise _strange(whose, place, f"a tensor of {value.dtype} ({value.layout})")
        while name in tensors:  # the keys ("a/b",) and ("a", "b") read the same
            name += "'"
        tensors[name] = on_cpu(value)
        return {"tensor": name}
    if type(value) is float and not math.isfinite(value):  # JSON has no such numbers
        return {"float": repr(value)}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise _strange(whose, place, f"a {type(value).__name__}")


def _join(name: str, key: str | int) -> str:
    return f"{name}/{key}" if name else str(key)


def _nested(node: Any, tensors: Mapping[str, Tensor], device: torch.device) -> Any:
    if not isinstance(node, dict):
        return node
    ((kind, inner),) = node.items()
    if kind == "dict":
        return {key: _nested(item, tensors, device) for key, item in inner}
    if kind == "list":
        return [_nested(item, tensors, device) for item in inner]
    if kind == "tensor":
        return tensors[inner].to(device, copy=True)
    return float(inner)


def _strange(whose: str, place: str, what: str) -> Fault:
    return Fault(
        f"{whose}: {place} is {what}, which cannot be saved",
        hint="keep dicts and lists of tensors, numbers, strings, booleans and None in state_dict()",
    )
