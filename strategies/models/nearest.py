"""Prediction by the nearest mean of exemplars: what iCaRL puts in the last layer's place.

Rebuffi et al. 2017, https://arxiv.org/abs/1611.07725, algorithm 1. Needs no Avalanche, so
that a registered model predicts without it.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from perdure.config import CONFIG_NAME
from perdure.errors import ConfigError
from perdure.strategies.learner.state import State

_NEVER = -1e4
"""The logit of a class without exemplars: its probability is 0."""


class NearestMean(nn.Module):
    """Float32 (rows, features) to (rows, classes): the negative squared distance to each mean.

    Features are scaled to length 1 first, as the means are; so a softmax over the result is
    the posterior of equally likely classes, each a normal distribution around its mean with
    variance ½ in every direction.

    Args:
        means: float32 (classes, features), each of length 1.
        known: bool (classes,); a class that is not known is never the nearest.
    """

    means: Tensor
    known: Tensor

    def __init__(self, means: Tensor, known: Tensor) -> None:
        super().__init__()
        self.register_buffer("means", means)
        self.register_buffer("known", known)

    def forward(self, features: Tensor) -> Tensor:
        """-‖φ/‖φ‖ - μ‖² for each class."""
        unit = normalize(features, dim=1)
        lengths = unit.square().sum(dim=1, keepdim=True) + self.means.square().sum(dim=1)
        distances = lengths - 2.0 * unit @ self.means.t()
        return torch.where(self.known, -distances, torch.full_like(distances, _NEVER))


def nearest_mean(network: nn.Module, state: State) -> nn.Module:
    """A network that predicts by the nearest mean, instead of its last layer.

    Args:
        network: Ends in a linear layer; is not changed.
        state: Of iCaRL: `means` float32 (classes, features), and `y` of the exemplars.

    Returns:
        A copy; the network itself as long as there are no exemplars.
    """
    if "means" not in state.tensors:
        return network
    changed = copy.deepcopy(network)
    name, layer = last_layer(changed)
    found = state.tensors["means"]
    means = found.new_zeros(layer.out_features, found.shape[1])
    means[: len(found)] = found
    known = torch.zeros(layer.out_features, dtype=torch.bool)
    known[state.tensors["y"]] = True
    parent, _, own = name.rpartition(".")
    setattr(changed.get_submodule(parent), own, NearestMean(means, known))
    return changed


def last_layer(network: nn.Module) -> tuple[str, nn.Linear]:
    """The linear layer that comes last, with its name.

    Raises:
        ConfigError: There is none.
    """
    layers = [(n, module) for n, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise _unfit("has no linear layer")
    return layers[-1]


def features(network: nn.Module, x: Tensor) -> Tensor:
    """What the last linear layer gets of rows, scaled to length 1: (rows, features).

    Raises:
        ConfigError: The layer's outputs are not the network's.
    """
    _, layer = last_layer(network)
    seen: list[tuple[Tensor, Tensor]] = []

    def note(_: nn.Module, entered: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append((entered[0], output))

    handle = layer.register_forward_hook(note)
    try:
        outputs = cast(Tensor, network(x))
    finally:
        handle.remove()
    # The very same numbers in memory: values would not do, for NaN is not equal to itself.
    if len(seen) != 1 or seen[0][1].data_ptr() != outputs.data_ptr():
        raise _unfit("does something after its last linear layer, or uses it more than once")
    return normalize(seen[0][0].to(torch.float32), dim=1)


def _unfit(why: str) -> ConfigError:
    return ConfigError(
        CONFIG_NAME,
        [f"model.factory: icarl predicts in place of the model's last layer, but the model {why}"],
        hint="a model that ends in one torch.nn.Linear, such as mlp; or another strategy",
    )
