"""What must survive the end of a process, as plain tensors and JSON values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from perdure.strategies.learner import digests


@dataclass
class State:
    """One part of a learner: CPU tensors by name, and JSON values."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


def on_cpu(tensor: Tensor) -> Tensor:
    """A contiguous CPU copy that shares nothing with the original."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def digest(parts: Mapping[str, State]) -> str:
    """Digest of parts: 64 hex digits; see `digests.digest`."""
    return digests.digest({name: (part.values, _tensors(part)) for name, part in parts.items()})


def _tensors(part: State) -> Iterator[digests.Tensor]:
    for name in sorted(part.tensors):
        tensor = on_cpu(part.tensors[name])
        data = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        yield name, str(tensor.dtype), tuple(tensor.shape), data
