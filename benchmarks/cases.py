"""What is learned when speed is measured, by which strategy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.data import IMAGES, NO_NUMBERS, NONE, TABLE, Table, images, numbers
from perdure.strategies.features.columns import FeatureSpec

MEAN = "geometric mean"


@dataclass(frozen=True)
class Case:
    """What is learned, by which strategy."""

    strategy: str
    batch: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    past: int = 1
    """Experiences learned before the one that is timed."""
    memory: int = 1000
    """Rows that the plain loop's memory holds, and stock Avalanche's."""
    label: str = ""
    table: bool = False
    target: float = 0.9

    @property
    def name(self) -> str:
        """As it stands in the table, and after `--only`."""
        return f"{self.label or self.strategy}, batch {self.batch}"

    @property
    def spec(self) -> FeatureSpec:
        """The features."""
        return TABLE if self.table else IMAGES

    @property
    def hidden(self) -> list[int]:
        """Widths of the hidden layers."""
        return [64] if self.table else [400, 400]

    @property
    def rows(self) -> Callable[[int, int], Table]:
        """Makes rows, from their number and a seed."""
        return numbers if self.table else images

    @property
    def none(self) -> Table:
        """No rows."""
        return NO_NUMBERS if self.table else NONE

    @property
    def size(self) -> tuple[int, int]:
        """Rows of the experience that is timed, and passes over them."""
        return (50_000, 10) if self.table else (12_000, 2)


def _cases() -> Iterator[Case]:
    for batch in (64, 256):
        yield Case("naive", batch)
        for size in (1000, 5000):
            yield Case("replay", batch, {"size": size}, memory=size, label=f"replay {size:,}")
        yield Case("ewc", batch, past=5, label="ewc after 5")
        yield Case("si", batch)
        yield Case("lwf", batch)
        yield Case("agem", batch, {"size": 1000})
        yield Case("der++", batch, {"size": 1000})
    yield Case("naive", 256, table=True, label="table model, naive", target=0.85)


CASES = tuple(_cases())
