"""New classes: the outputs grow, and what was learned stays.

The network is made again with more outputs. Every tensor that has the same shape as before is
the old one; one that has grown keeps the old values in its first rows, and has newly drawn
ones after them. What the optimizer and the strategies remember of a parameter grows with it,
by zeros: nothing is remembered of a new output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from perdure.config import CONFIG_NAME
from perdure.errors import ConfigError
from perdure.strategies.features.columns import FeatureSpec
from perdure.strategies.learner import randomness
from perdure.strategies.learner.recipe import NEW_MODEL
from perdure.strategies.learner.state import State

if TYPE_CHECKING:
    from perdure.strategies.learner.learner import Learner


def grow(learner: Learner, spec: FeatureSpec) -> None:
    """Give a learner an output for each class of `spec` that it does not know.

    First weights of the new outputs come from the learner's own random stream, so that the
    same growth is the same learner bit for bit.

    Args:
        learner: Is changed, if there is a new class.
        spec: The learner's features, with at least its labels, and those first.

    Raises:
        ConfigError: The model cannot grow: a tensor of its has another number of dimensions.
    """
    known = learner.spec.labels
    if spec.labels == known:
        return
    if spec.labels[: len(known)] != known:
        raise ValueError(f"labels {spec.labels} do not begin with the learner's {known}")
    wider, cpu = replace(learner.spec, labels=spec.labels), torch.device("cpu")
    with randomness.isolated(cpu):
        randomness.restore(learner.streams, cpu)
        model = learner.recipe.network(wider, learner.root, restored=True)
        streams = randomness.capture(cpu)
    old = learner.model.state_dict()
    try:
        weights = {name: _widened(old[name], first) for name, first in model.state_dict().items()}
    except (KeyError, ValueError) as error:
        raise ConfigError(
            str(learner.root / CONFIG_NAME),
            [
                f"model.factory = {learner.recipe.factory!r}: cannot grow from {len(known)} to "
                f"{len(spec.labels)} outputs: {error}"
            ],
            hint=NEW_MODEL,
        ) from error
    model.load_state_dict(weights)
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    learner.model, learner.spec = model.eval(), wider
    learner.streams = {**learner.streams, **streams}
    learner.optimizer = _with_zeros(learner.optimizer, parameters)
    learner.memory = {
        name: _with_zeros(state, parameters) for name, state in learner.memory.items()
    }


def _widened(old: Tensor, first: Tensor) -> Tensor:
    """The old values in the first rows (and columns …) of the new tensor."""
    if old.shape == first.shape:
        return old
    fits = old.dim() == first.dim() and all(
        a <= b for a, b in zip(old.shape, first.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"a tensor of shape {tuple(old.shape)} becomes {tuple(first.shape)}")
    wide = first.clone()
    wide[tuple(slice(size) for size in old.shape)] = old
    return wide


def _with_zeros(state: State, parameters: Mapping[str, Tensor]) -> State:
    """A state whose `<key>/<parameter>` tensors have grown with their parameters."""
    grown = {}
    for name, tensor in state.tensors.items():
        parameter = parameters.get(name.partition("/")[2])
        if parameter is not None and tensor.dim() == parameter.dim():
            tensor = _widened(tensor, torch.zeros(parameter.shape, dtype=tensor.dtype))
        grown[name] = tensor
    return State(grown, state.values)
