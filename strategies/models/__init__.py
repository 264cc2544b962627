"""Network bodies: built-in ones by name, and a user's own."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from perdure.config import CONFIG_NAME
from perdure.errors import ConfigError
from perdure.strategies import own_code
from perdure.strategies.features.modules import Inputs
from perdure.strategies.models.attention import transformer
from perdure.strategies.models.images import cnn
from perdure.strategies.models.recurrent import lstm
from perdure.strategies.models.tables import mlp

KINDS = {1: "tables", 3: "images", 2: "texts and sequences"}
"""What a body gets, by the number of dimensions of a row."""


@dataclass(frozen=True)
class BuiltIn:
    """A body that is made by name.

    Its last layer is a linear one to the outputs, the last `nn.Linear` of `modules()`.
    """

    make: Callable[..., nn.Module]
    takes: tuple[str, ...]
    """Name in `KINDS`."""
    trained: bool = False
    """Whether it takes first `weights`: the path of a safetensors file, from the workspace."""


BUILT_IN: dict[str, BuiltIn] = {
    "cnn": BuiltIn(cnn, ("images",)),
    "lstm": BuiltIn(lstm, ("texts and sequences",)),
    "mlp": BuiltIn(mlp, tuple(KINDS.values())),
    "transformer": BuiltIn(transformer, ("texts and sequences",)),
}
"""Perdure's own; torchvision's classifiers come to these, see `built_in`."""


def built_in(name: str) -> BuiltIn | None:
    """The built-in body of a name, torchvision's classifiers among them; None: there is none."""
    if name in BUILT_IN or not name.isidentifier():
        return BUILT_IN.get(name)
    from perdure.strategies.models import vision  # half a second, for who needs it

    if name not in vision.names():
        return None
    return BuiltIn(partial(vision.classifier, name), ("images",), trained=True)


def build(
    factory: str,
    inputs: Inputs,
    outputs: int,
    parameters: Mapping[str, Any],
    root: Path,
    *,
    restored: bool = False,
    weights: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """Make a body and see that it fits.

    Args:
        factory: A built-in name, `package.module:function`, or `path/to/file.py:function`
            with the path relative to the workspace.
        inputs: Of the float32 that it gets: the width of a table's (rows, inputs);
            (channels, height, width) of images; (length, width) of texts and sequences,
            where the last value is 1 at an item and 0 at padding.
        outputs: Width of the (rows, outputs) that it must give.
        parameters: Passed by name, after `inputs` and `outputs`.
        root: The workspace.
        restored: Saved weights follow, so a built-in's file of first `weights` is not read.
        weights: What that file held, see `trained`; None: it is read.

    Raises:
        ConfigError: It cannot be found, cannot be made, does not fit the inputs, or gives
            another shape.
    """
    known = built_in(factory)
    shape = (inputs,) if isinstance(inputs, int) else tuple(inputs)
    if known is not None:
        _check_kind(factory, known, KINDS[len(shape)], root)
    function = known.make if known is not None else _find(factory, root)
    key = "model.factory" if not parameters else "model.parameters"
    value = factory if not parameters else dict(parameters)
    given = dict(parameters)
    if known is not None and known.trained and given.get("weights") is not None:
        given["weights"] = None if restored else weights or trained(factory, parameters, root)
    try:
        body = function(inputs, outputs, **given)
    except Exception as error:
        raise _fault(root, f"{key} = {value!r}: {type(error).__name__}: {error}") from error
    if not isinstance(body, nn.Module):
        raise _fault(root, f"model.factory = {factory!r}: gives a {type(body).__name__}, no Module")
    _check_shape(body, factory, shape, outputs, root)
    return body


def trained(factory: str, parameters: Mapping[str, Any], root: Path) -> dict[str, Tensor]:
    """What a built-in's file of first `weights` holds; empty: there is none.

    Raises:
        ConfigError: It cannot be read, or is no safetensors file.
    """
    known, path = built_in(factory), parameters.get("weights")
    if known is None or not known.trained or path is None:
        return {}
    try:
        return safetensors.torch.load((root / str(path)).read_bytes())
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
    except SafetensorError as error:
        why = f"is no safetensors file ({error}); other formats may run code when they are read"
    raise _fault(root, f"model.parameters.weights = {path!r}: {why}")


def _check_kind(factory: str, known: BuiltIn, kind: str, root: Path) -> None:
    if kind in known.takes:
        return
    fitting = [name for name, one in sorted(BUILT_IN.items()) if kind in one.takes]
    if kind == "images":
        fitting.append("torchvision's classifiers (resnet18 ...)")
    raise _fault(
        root,
        f"model.factory = {factory!r}: takes {' and '.join(known.takes)}, and the features are "
        f"{kind}; for these there are {', '.join(fitting)}, or a model of your own",
    )


def _find(factory: str, root: Path) -> Callable[..., Any]:
    place, colon, name = factory.rpartition(":")
    if not colon or not place or not name:
        raise _fault(root, f"model.factory = {factory!r}: is neither built in ({_names(factory)}) "
                     "nor package.module:function nor path/to/file.py:function")  # fmt: skip
    try:
        return own_code.find(factory, root)
    except ValueError as error:
        raise _fault(root, f"model.factory = {factory!r}: {error}") from error


def _names(wrong: str) -> str:
    from perdure.strategies.models import vision

    near = difflib.get_close_matches(wrong, vision.names(), n=3)
    return f"{', '.join(sorted(BUILT_IN))}, and torchvision's {', '.join(near) or 'resnet18 ...'}"


def _check_shape(
    body: nn.Module, factory: str, inputs: tuple[int, ...], outputs: int, root: Path
) -> None:
    probe = torch.zeros(2, *inputs)
    if len(inputs) == 2:
        probe[0, :, -1] = 1.0  # items; the other row is only padding
    modes = [(module, module.training) for module in body.modules()]
    for rows in (2, 1):
        try:
            with torch.no_grad():
                found = body.eval()(probe[:rows])
        except Exception as error:
            tried = (rows, *inputs)
            raise _fault(root, f"model.factory = {factory!r}: fails on {tried}: {error}") from error
        finally:
            for module, mode in modes:
                module.training = mode
        shape = tuple(getattr(found, "shape", ()))
        if shape != (rows, outputs):
            raise _fault(
                root,
                f"model.factory = {factory!r}: gives shape {shape} for {rows} rows, "
                f"not ({rows}, {outputs})",
            )
        _check_finite(found, factory, inputs, root)


def _check_finite(found: Tensor, factory: str, inputs: tuple[int, ...], root: Path) -> None:
    if len(inputs) == 2 and not torch.isfinite(found).all():
        raise _fault(root, f"model.factory = {factory!r}: gives values that are not finite for a "
                     "row of zeros, or of only padding")  # fmt: skip


def _fault(root: Path, fault: str) -> ConfigError:
    return ConfigError(str(root / CONFIG_NAME), [fault])
