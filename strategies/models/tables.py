"""A body for tables, and for anything else that is flattened first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from perdure.strategies.features.modules import Inputs
from perdure.strategies.models.parts import share, wholes


def mlp(
    inputs: Inputs, outputs: int, hidden: Sequence[int] = (64, 64), dropout: float = 0.0
) -> nn.Module:
    """A multilayer perceptron with ReLU (Glorot, Bordes and Bengio 2011).

    https://proceedings.mlr.press/v15/glorot11a.html

    Float32 (rows, inputs) to (rows, outputs). Images, texts and sequences are flattened: each
    place of a row has weights of its own, padding too.

    Args:
        inputs: Width or shape of a row.
        outputs: Width of the output.
        hidden: Width of each hidden layer.
        dropout: Share of each hidden layer's values set to zero in training, 0 to below 1.

    Raises:
        ValueError: A width is below 1, or dropout is out of range.
    """
    layers: list[nn.Module] = [] if isinstance(inputs, int) else [nn.Flatten()]
    width = inputs if isinstance(inputs, int) else math.prod(inputs)
    rate = share("dropout", dropout)
    for next_width in wholes("hidden", hidden):
        layers += [nn.Linear(width, next_width), nn.ReLU()]
        if rate:
            layers.append(nn.Dropout(rate))
        width = next_width
    return nn.Sequential(*layers, nn.Linear(width, outputs))
