"""What must survive the end of a process, as plain tensors and JSON values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class State:
    """One part of a learner: CPU tensors by name, and JSON values."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


def on_cpu(tensor: Tensor) -> Tensor:
    """A contiguous CPU copy that shares nothing with the original."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def digest(parts: Mapping[str, State]) -> str:
    """SHA-256 over parts, names sorted: 64 hex digits.

    Of a tensor its name, dtype, shape and bytes count; of values their canonical JSON. The
    device that a tensor was trained on does not.
    """
    sha = hashlib.sha256()

    def add(data: bytes) -> None:
        # Lengths first, so that no two different sequences have the same bytes.
        sha.update(len(data).to_bytes(8, "little"))
        sha.update(data)

    for part in sorted(parts):
        state = parts[part]
        add(part.encode())
        add(json.dumps(state.values, sort_keys=True, separators=(",", ":")).encode())
        for name in sorted(state.tensors):
            tensor = on_cpu(state.tensors[name])
            add(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
            add(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
