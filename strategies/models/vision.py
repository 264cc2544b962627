"""torchvision's classifiers, fitted to the size, channels and classes of a workspace's images."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import torchvision
from torch import Tensor, nn
from torch.nn import functional

from perdure.strategies.models.parts import BatchNorm, group_norm, one_of, share, whole

_log = logging.getLogger(__name__)


@cache
def names() -> tuple[str, ...]:
    """Torchvision's classifiers, by its own names."""
    found = torchvision.models.list_models(module=torchvision.models)
    return tuple(str(name) for name in found)


class Classifier(nn.Module):
    """See `classifier`."""

    def __init__(self, net: nn.Module, size: int | None) -> None:
        super().__init__()
        self.net = net
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Float32 (rows, channels, height, width) to (rows, outputs)."""
        if self.size is not None:
            x = functional.interpolate(
                x, (self.size, self.size), mode="bilinear", align_corners=False, antialias=True
            )
        outputs: Tensor = self.net(x)
        return outputs


def classifier(
    name: str,
    inputs: tuple[int, int, int],
    outputs: int,
    weights: Mapping[str, Tensor] | None = None,
    size: int | None = None,
    dropout: float | None = None,
    norm: Literal["batch", "group"] = "batch",
) -> nn.Module:
    """A classifier of torchvision, untrained unless a file is given.

    The papers: https://docs.pytorch.org/vision/stable/models.html#classification

    Float32 (rows, channels, height, width) to (rows, outputs). With one channel the first
    convolution sums its weights over red, green and blue: it sees what it would see of the
    same image in grey. `inception_v3` and `googlenet` have no auxiliary outputs here, and the
    last layer of `squeezenet` is a linear one, after the mean over the image.

    Args:
        name: One of `names`.
        inputs: (channels, height, width).
        outputs: Width of the output.
        weights: Torchvision's state of this model. Its last layer is left out where it has
            other outputs.
        size: Height and width, in pixels, that images are scaled to first; None: as they are.
        dropout: Share set to zero in training, 0 to below 1, in every dropout layer, or before
            the last layer of a model that has none; None: as torchvision has it.
        norm: "batch" as published, or "group" in its place. Running statistics of batches are
            those of the latest experience (Pham, Liu and Hoi 2022,
            https://arxiv.org/abs/2203.16102).

    Raises:
        ValueError: A parameter is out of range, the weights cannot be used, or the images do
            not suit the model.
    """
    channels, height, width = inputs
    if size is not None:
        height = width = whole("size", size, 8, 4096)
    rate = None if dropout is None else share("dropout", dropout)
    one_of("norm", norm, ("batch", "group"))
    net = _made(name, outputs, height, width)
    if channels == 1:
        _one_channel(net)
    _renormed(net, norm)
    if weights is not None:
        _load(net, weights)
    if rate is not None:
        _dropped(net, rate)
    return Classifier(net, size)


def _made(name: str, outputs: int, height: int, width: int) -> nn.Module:
    settings: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        settings = {"aux_logits": False, "transform_input": False, "init_weights": True}
    elif name.startswith("vit_"):
        if height != width:
            raise ValueError(f"{name} takes square images, not {height} x {width}: set size")
        settings = {"image_size": height}
    elif name.startswith("maxvit_"):
        settings = {"input_size": (height, width)}
    try:
        net: nn.Module = torchvision.models.get_model(
            name, weights=None, num_classes=outputs, **settings
        )
    except (AssertionError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} does not take images of {height} x {width}: {error}") from error
    if name.startswith("squeezenet"):
        before = [nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        net.classifier = nn.Sequential(*before, nn.Linear(512, outputs))
    return net


def _one_channel(net: nn.Module) -> None:
    name, old = next((n, m) for n, m in net.named_modules() if isinstance(m, nn.Conv2d))
    new = nn.Conv2d(
        1, old.out_channels, old.kernel_size, old.stride, old.padding,  # type: ignore[arg-type]  # typed as a tuple of any length
        bias=old.bias is not None,
    )  # fmt: skip
    state = old.state_dict()
    new.load_state_dict(state | {"weight": _summed(state["weight"])})
    _put(net, name, new)


def _summed(weight: Tensor) -> Tensor:
    return weight.sum(dim=1, keepdim=True)


def _renormed(net: nn.Module, norm: str) -> None:
    for name, old in list(net.named_modules()):
        if not isinstance(old, nn.BatchNorm2d):
            continue
        if norm == "group":
            _put(net, name, group_norm(old.num_features))
            continue
        new = BatchNorm(old.num_features, old.eps, old.momentum)
        new.load_state_dict(old.state_dict())
        _put(net, name, new)


def _dropped(net: nn.Module, rate: float) -> None:
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Dropout)]
    for layer in layers:
        layer.p = rate
    if not layers:
        name = head(net)
        _put(net, name, nn.Sequential(nn.Dropout(rate), net.get_submodule(name)))


def head(net: nn.Module) -> str:
    """The name of the last linear layer."""
    names_in = [str(name) for name, layer in net.named_modules() if isinstance(layer, nn.Linear)]
    return names_in[-1]


def _put(net: nn.Module, name: str, layer: nn.Module) -> None:
    place, _, last = name.rpartition(".")
    setattr(net.get_submodule(place), last, layer)


def _load(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    given, last = dict(weights), head(net)
    # What counts the batches that were seen is used by nothing, and older files lack it.
    wanted = {n: t for n, t in net.state_dict().items() if not n.endswith("num_batches_tracked")}
    first = f"{next(n for n, m in net.named_modules() if isinstance(m, nn.Conv2d))}.weight"
    if first in given and given[first].shape[1] == 3 and wanted[first].shape[1] == 1:
        given[first] = _summed(given[first])
    outputs, found = wanted[f"{last}.weight"], given.get(f"{last}.weight")
    if found is None or found.shape != outputs.shape:
        had = "none" if found is None else len(found)
        _log.info("weights: the last layer stays untrained: outputs %s, not %d", had, len(outputs))
        for part in ("weight", "bias"):
            given.pop(f"{last}.{part}", None)
            wanted.pop(f"{last}.{part}", None)
    unfit = [n for n, t in wanted.items() if n not in given or given[n].shape != t.shape]
    if unfit:
        name = unfit[0]
        has = f"is {tuple(given[name].shape)}" if name in given else "is missing"
        raise ValueError(
            f"weights: {len(unfit)} tensors do not fit the model: {name} {has}, "
            f"not {tuple(wanted[name].shape)}"
        )
    extra = sorted(given.keys() - net.state_dict().keys())
    if extra:
        _log.info("weights: %d tensors are not in the model, first %s", len(extra), extra[0])
    state = net.state_dict()  # which also says of what version the modules are: mnasnet asks
    state.update({n: given[n] for n in wanted})
    net.load_state_dict(state)
