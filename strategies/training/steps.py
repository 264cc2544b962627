"""How a batch becomes a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

_NORMALISES = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""Layers that cannot be trained on a batch of one row: it has no variance."""


@dataclass(frozen=True)
class Steps:
    """How a batch becomes a step; as it stands here, plain SGD does."""

    accumulate: int = 1
    """Batches whose gradients make up one step."""
    clip_norm: float | None = None
    """Greatest 2-norm of all gradients together."""
    l1: float = 0.0
    """Weight of the sum of the absolute values of all parameters."""
    compile: bool = False
    augment: Callable[[Tensor], Tensor] | None = None
    """Changes x of a batch, new rows and those from a memory alike."""


def normalises(model: nn.Module) -> bool:
    """Whether a model has layers that cannot be trained on a single row."""
    return any(isinstance(module, _NORMALISES) for module in model.modules())
