"""What of a machine decides the bits of a training, beside code, configuration and data."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata
from pathlib import Path

import torch


def describe(device: torch.device) -> dict[str, str]:
    """Processor, its instructions, threads, device and libraries, as they are for a training now.

    With the same of all these, a training on a CPU gives the same bits; with another, perhaps.

    Args:
        device: Where it runs.
    """
    return {
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        **_libraries(),
    }


@cache
def _libraries() -> dict[str, str]:
    """Versions, by name; each is looked up among all that is installed."""
    return {name: metadata.version(name) for name in ("torch", "numpy", "avalanche-lib", "perdure")}


@cache
def _processor() -> str:
    """The model of the processor, as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(found, "") or platform.processor() or platform.machine() or "unknown"
