"""Rows to measure on, what the columns are, and configurations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perdure.config import Config
from perdure.strategies.features.columns import Column, FeatureSpec

Table = tuple[dict[str, NDArray[Any]], NDArray[Any]]
"""Columns by name, and the target."""

ROOT = Path()
"""Built-in models need no folder."""

NUMBERS = 20
TABLE = FeatureSpec(
    tuple(Column(f"x{i}", "number") for i in range(NUMBERS)),
    target="y",
    task="classification",
    labels=(0, 1),
)
IMAGES = FeatureSpec(
    (Column("image", "image", shape=(28, 28, 1)),),
    target="y",
    task="classification",
    labels=tuple(range(10)),
)


def configuration(
    strategies: list[Any],
    *,
    hidden: list[int],
    factory: str = "mlp",
    heads: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    **training: Any,
) -> Config:
    """A configuration of an MLP, on one thread."""
    return Config.model_validate(
        {
            "model": {
                "name": "bench",
                "factory": factory,
                "parameters": {"hidden": hidden},
                "heads": heads,
                "bins": 0,  # as the plain loops and Avalanche, which know no such features
            },
            "data": {"target": "y", "task": "classification"},
            "training": {"strategies": strategies, "seed": seed, "device": device, **training},
        }
    )


def numbers(count: int, seed: int) -> Table:
    """A table's columns and labels; a straight line nearly solves it, and turns with the seed."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, NUMBERS))
    y = (x @ rng.normal(size=NUMBERS) + rng.normal(size=count) > 0).astype(np.int64)
    return {f"x{i}": x[:, i] for i in range(NUMBERS)}, y


def images(count: int, seed: int) -> Table:
    """Pictures of 28 x 28 in ten classes, made of noise; as dark as those of MNIST."""
    rng = np.random.default_rng(seed)
    y = rng.integers(10, size=count)
    kinds = np.random.default_rng(0).random((10, 28, 28, 1)) < 0.2
    noise = rng.integers(256, size=(count, 28, 28, 1), dtype=np.uint8)
    return {"image": noise * (kinds[y] | (noise > 250))}, y


NONE: Table = ({"image": np.empty((0, 28, 28, 1), dtype=np.uint8)}, np.empty(0, dtype=np.int64))
"""No rows of pictures to watch."""
NO_NUMBERS = numbers(0, 0)


def mnist_file() -> Path:
    """Where MNIST should be: `PERDURE_MNIST`, or `../shared/data/mnist.npz`."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist.npz"
    return Path(os.environ.get("PERDURE_MNIST", default))


@cache
def mnist() -> Mapping[str, NDArray[Any]]:
    """`x_train` uint8 (60000, 28, 28), `y_train`, `x_test` and `y_test`; sorted by class."""
    with np.load(mnist_file(), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
