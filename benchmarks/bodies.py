"""A model of the benchmarks' own, as a user would write it.

[model]
factory = "benchmarks.bodies:dark"
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from perdure.strategies.features.modules import Inputs
from perdure.strategies.models.tables import mlp


def dark(inputs: Inputs, outputs: int, hidden: Sequence[int] = (400, 400)) -> nn.Module:
    """The built-in MLP behind a ReLU: whatever is darker than the mean of all pixels is 0.

    Background that is 0 moves no weight, so the Fisher information says of each weight of the first
    layer how much it mattered to the permutations in which its pixel was lit, and to no others.
    """
    return nn.Sequential(nn.ReLU(), mlp(inputs, outputs, hidden))
