"""Tables for the benchmarks, and learners for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perdure.config import Config
from perdure.strategies.features import Column, FeatureSpec

COLUMNS = 20

SPEC = FeatureSpec(
    tuple(Column(f"x{i}", "number") for i in range(COLUMNS)),
    target="y",
    task="classification",
    labels=(0, 1),
)


def configuration(strategies: list[Any], epochs: int, batch_size: int, hidden: list[int]) -> Config:
    """A configuration with one thread, so that two cores are enough to measure."""
    return Config.model_validate(
        {
            "model": {"name": "bench", "parameters": {"hidden": hidden}},
            "data": {"target": "y", "task": "classification"},
            "training": {
                "strategies": strategies,
                "epochs": epochs,
                "batch_size": batch_size,
                "device": "cpu",
            },
        }
    )


def rows(count: int, seed: int) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """Columns and labels of a task that a straight line nearly solves; it turns with the seed."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, COLUMNS))
    y = (x @ rng.normal(size=COLUMNS) + rng.normal(size=count) > 0).astype(np.int64)
    return {f"x{i}": x[:, i] for i in range(COLUMNS)}, y


ROOT = Path()
"""Built-in models need no folder."""
