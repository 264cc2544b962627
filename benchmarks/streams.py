"""Streams of experiences made of MNIST, as the literature has them.

- `permuted`: every experience has all digits and a fixed permutation of the pixels of its own,
  drawn from the seed (Goodfellow et al. 2013, https://arxiv.org/abs/1312.6211).
- `split`: every experience has two digits that were not there before; which digits belong together
  is not told (class-incremental, van de Ven et al. 2022, https://doi.org/10.1038/s42256-022-00568-3).
- `split-tasks`: the same, but a row says which of the five pairs it belongs to, and what is
  learned is which of the two it is (task-incremental).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import IMAGES, Table, mnist
from perdure.strategies.features.columns import Column, FeatureSpec

Kind = Literal["permuted", "split", "split-tasks"]
Side = Literal["train", "validation", "test"]

TASK = "task"
TASKS = FeatureSpec(
    (
        *(Column(f"p{i}", "number") for i in range(784)),
        Column(TASK, "category", tuple(map(str, range(5)))),
    ),
    target="y",
    task="classification",
    labels=(0, 1),
)


@dataclass(frozen=True)
class Stream:
    """A stream and its rows; the same for the same values."""

    kind: Kind
    experiences: int
    seed: int = 0
    held_out: float = 0.0
    """Share of the training rows that are kept for validation instead."""
    rows: int | None = None
    """Training rows of an experience at most, the first of a random order; None: all."""

    @property
    def spec(self) -> FeatureSpec:
        """The features and labels."""
        return TASKS if self.kind == "split-tasks" else IMAGES

    @property
    def heads(self) -> str | None:
        """The column that says which of the outputs are a row's."""
        return TASK if self.kind == "split-tasks" else None

    def table(self, number: int, side: Side) -> Table:
        """The rows of one experience."""
        stored, name = mnist(), "test" if side == "test" else "train"
        order = self._order(side)
        if self.kind != "permuted":
            order = order[stored[f"y_{name}"][order] // 2 == number]
        if side == "train":
            order = order[: self.rows]
        x = stored[f"x_{name}"].reshape(-1, 784)[order]
        y = stored[f"y_{name}"][order]
        if self.kind == "permuted":
            x = x[:, self._permutation(number)]
        if self.kind == "split-tasks":
            columns: dict[str, NDArray[Any]] = {
                f"p{place}": values / 255 for place, values in enumerate(x.T)
            }
            columns[TASK] = np.full(len(x), str(number), dtype=object)
            return columns, y % 2
        return {"image": x.reshape(-1, 28, 28, 1)}, y

    def tables(self, side: Side) -> Iterator[Table]:
        """The rows of every experience, in order."""
        return (self.table(number, side) for number in range(self.experiences))

    def _order(self, side: Side) -> NDArray[np.int64]:
        """Places of the rows of a side, in a random order, for the file has them by digit."""
        # Which rows are held out is the same for every seed, so that no choice sees them.
        if side == "test":
            return np.random.default_rng(0).permutation(len(mnist()["y_test"]))
        order = np.random.default_rng(0).permutation(len(mnist()["y_train"]))
        held = round(self.held_out * len(order))
        if side == "validation":
            return order[:held]
        return np.random.default_rng(self.seed).permutation(order[held:])

    def _permutation(self, number: int) -> NDArray[np.int64]:
        return np.random.default_rng((self.seed, number)).permutation(784)
