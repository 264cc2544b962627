"""Network bodies: built-in ones by name, and a user's own."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from perdure.config import CONFIG_NAME
from perdure.errors import ConfigError


def mlp(
    inputs: int, outputs: int, hidden: Sequence[int] = (64, 64), dropout: float = 0.0
) -> nn.Module:
    """A multilayer perceptron with ReLU: float32 (rows, inputs) to (rows, outputs).

    Args:
        inputs: Width of the input.
        outputs: Width of the output.
        hidden: Width of each hidden layer.
        dropout: Share of each hidden layer's values set to zero in training, 0 to below 1.

    Raises:
        ValueError: A width is below 1, or dropout is out of range.
    """
    if not all(isinstance(width, int) and width >= 1 for width in hidden):
        raise ValueError(f"hidden = {list(hidden)!r}: widths are whole numbers from 1")
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout = {dropout!r}: must be at least 0 and below 1")
    layers: list[nn.Module] = []
    width = inputs
    for next_width in hidden:
        layers += [nn.Linear(width, next_width), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        width = next_width
    return nn.Sequential(*layers, nn.Linear(width, outputs))


BUILT_IN: dict[str, Callable[..., nn.Module]] = {"mlp": mlp}


def build(
    factory: str, inputs: int, outputs: int, parameters: Mapping[str, Any], root: Path
) -> nn.Module:
    """Make a body and see that it fits.

    Args:
        factory: A built-in name, `package.module:function`, or `path/to/file.py:function`
            with the path relative to the workspace.
        inputs: Width of the float32 (rows, inputs) that it gets.
        outputs: Width of the (rows, outputs) that it must give.
        parameters: Passed by name, after `inputs` and `outputs`.
        root: The workspace.

    Raises:
        ConfigError: It cannot be found, cannot be made, or gives another shape.
    """
    function = _find(factory, root)
    key = "model.factory" if not parameters else "model.parameters"
    value = factory if not parameters else dict(parameters)
    try:
        body = function(inputs, outputs, **parameters)
    except Exception as error:
        raise _fault(root, f"{key} = {value!r}: {type(error).__name__}: {error}") from error
    if not isinstance(body, nn.Module):
        raise _fault(root, f"model.factory = {factory!r}: gives a {type(body).__name__}, no Module")
    _check_shape(body, factory, inputs, outputs, root)
    return body


def _find(factory: str, root: Path) -> Callable[..., Any]:
    if factory in BUILT_IN:
        return BUILT_IN[factory]
    place, colon, name = factory.rpartition(":")
    if not colon or not place or not name:
        raise _fault(
            root,
            f"model.factory = {factory!r}: is neither built in ({', '.join(sorted(BUILT_IN))}) "
            "nor package.module:function nor path/to/file.py:function",
        )
    try:
        module = (
            _from_file(root / place) if place.endswith(".py") else importlib.import_module(place)
        )
    except Exception as error:
        raise _fault(
            root, f"model.factory = {factory!r}: {type(error).__name__}: {error}"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise _fault(root, f"model.factory = {factory!r}: {place} has no function {name}")
    return function  # type: ignore[no-any-return]  # the user's own


def _from_file(path: Path) -> ModuleType:
    # A name of its own for each path, so that no user's file hides a package.
    name = f"perdure_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    module = ModuleType(name)
    module.__file__ = str(path)
    # Compiled here, not imported: no stale bytecode, and no __pycache__ in the workspace.
    code = compile(path.read_bytes(), str(path), "exec")
    sys.modules[name] = module  # dataclasses and torch look their own module up
    try:
        exec(code, module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _check_shape(body: nn.Module, factory: str, inputs: int, outputs: int, root: Path) -> None:
    was_training = body.training
    try:
        with torch.no_grad():
            found = body.eval()(torch.zeros(2, inputs))
    except Exception as error:
        raise _fault(
            root, f"model.factory = {factory!r}: fails on (2, {inputs}): {error}"
        ) from error
    finally:
        body.train(was_training)
    shape = tuple(getattr(found, "shape", ()))
    if shape != (2, outputs):
        raise _fault(
            root, f"model.factory = {factory!r}: gives shape {shape} for 2 rows, not (2, {outputs})"
        )


def _fault(root: Path, fault: str) -> ConfigError:
    return ConfigError(str(root / CONFIG_NAME), [fault])
