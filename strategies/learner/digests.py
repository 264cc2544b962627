"""Digests of a learner's parts, from tensors in memory or from their files. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

Tensor = tuple[str, str, tuple[int, ...], bytes]
"""Name, type as torch writes it (`torch.float32`), shape, and bytes, little-endian."""

TYPES: Mapping[str, str] = {
    "BOOL": "torch.bool",
    "U8": "torch.uint8",
    "I8": "torch.int8",
    "U16": "torch.uint16",
    "I16": "torch.int16",
    "U32": "torch.uint32",
    "I32": "torch.int32",
    "U64": "torch.uint64",
    "I64": "torch.int64",
    "F16": "torch.float16",
    "BF16": "torch.bfloat16",
    "F32": "torch.float32",
    "F64": "torch.float64",
    "C64": "torch.complex64",
    "F8_E4M3": "torch.float8_e4m3fn",
    "F8_E5M2": "torch.float8_e5m2",
}
"""Types as safetensors names them."""


def digest(parts: Mapping[str, tuple[Mapping[str, Any], Iterable[Tensor]]]) -> str:
    """SHA-256 over parts, names sorted: 64 hex digits.

    Of a tensor its name, type, shape and bytes count; of values their canonical JSON. The
    device that a tensor was trained on does not.

    Args:
        parts: By name the values, and the tensors in the order of their names.
    """
    sha = hashlib.sha256()

    def add(data: bytes) -> None:
        # Lengths first, so that no two different sequences have the same bytes.
        sha.update(len(data).to_bytes(8, "little"))
        sha.update(data)

    for name in sorted(parts):
        values, tensors = parts[name]
        add(name.encode())
        add(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())
        for key, kind, shape, data in tensors:
            add(f"{key}:{kind}:{shape}".encode())
            add(data)
    return sha.hexdigest()


def tensors(data: bytes) -> list[Tensor]:
    """The tensors of a safetensors file, in the order of their names.

    Raises:
        SafetensorError, KeyError: It is none, or has a type that torch has not.
    """
    import safetensors

    library: Any = safetensors  # without types
    found = [
        (name, TYPES[one["dtype"]], tuple(one["shape"]), bytes(one["data"]))
        for name, one in library.deserialize(data)
    ]
    return sorted(found)
