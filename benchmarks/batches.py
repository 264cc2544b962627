"""The largest batch that fits on an accelerator, and how fast it is; nothing on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.data import IMAGES, NONE, ROOT, configuration, images
from benchmarks.measure import synchronise
from benchmarks.results import Row
from perdure.errors import PerdureError
from perdure.strategies.learner.learner import Learner
from perdure.strategies.training import engine

PART = "largest"
MOST = 2**22
BODIES: dict[str, dict[str, Any]] = {
    "mlp 784-400-400-10": {"factory": "mlp", "parameters": {"hidden": [400, 400]}},
    "cnn": {"factory": "cnn"},
    "resnet18": {"factory": "resnet18"},
}


def measure(only: str, device: torch.device, begins: Callable[[str], object]) -> Iterator[Row]:
    """Rows in a batch of naive training: doubled until the device's memory does not hold them."""
    if device.type != "cuda":
        return
    for name, model in BODIES.items():
        if only in name:
            begins(name)
            yield _row(name, model, device)


def _row(name: str, model: dict[str, Any], device: torch.device) -> Row:
    batch, used = 0, 0
    for size in (2**power for power in range(6, MOST.bit_length())):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        if not _fits(model, size, device):
            break
        batch, used = size, torch.cuda.max_memory_allocated(device)
    total = torch.cuda.get_device_properties(device).total_memory
    most = ", the most that is tried" if batch == MOST else ""
    return Row(
        part=PART,
        name=name,
        value=float(batch),
        unit="rows",
        note=f"{used / 2**30:.1f} of {total / 2**30:.0f} GiB{most}",
    )


def _fits(model: dict[str, Any], size: int, device: torch.device) -> bool:
    config = configuration(["naive"], hidden=[], epochs=1, batch_size=size, device=str(device))
    made = config.model.model_copy(update=model)
    config = config.model_copy(update={"model": made})
    rows = images(size, 0)
    learner = Learner.new(IMAGES, config, ROOT, *rows)
    try:
        engine.learn(learner, "first", *rows, *NONE, config)
        synchronise(device)
    except (PerdureError, torch.OutOfMemoryError) as error:
        if "memory" not in str(error):
            raise
        return False
    return True
