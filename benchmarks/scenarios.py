"""The streams and methods whose accuracy is measured, and the settings that are tried for each.

`python -m benchmarks choose` tries every combination of `grid` on seeds that are used for nothing
else, with a tenth of the training rows held out, and keeps what is best on those rows in
`chosen.json`. The test rows are looked at by `python -m benchmarks quality` alone.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.data import configuration
from benchmarks.streams import Kind, Stream
from perdure.config import Config

CHOSEN = Path(__file__).with_name("chosen.json")
SEEDS = (0, 1, 2)
TRIED = 100
"""The seed of the choice, and the first of several."""
HELD_OUT = 0.1

STRATEGY = "strategy."
"""What a setting of the strategy begins with, in a grid; the others are of `[training]`."""


@dataclass(frozen=True)
class Scenario:
    """A stream, a method, what it should reach, and which settings are tried."""

    name: str
    kind: Kind
    experiences: int
    strategy: str
    target: float
    published: str
    hidden: tuple[int, ...] = (400, 400)
    factory: str = "mlp"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the strategy, as the scenario demands."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """As the scenario demands."""
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    choice: Sequence[int] = (TRIED,)
    """Seeds of the choice: several where one says little of the next."""
    seconds: float | None = None
    """CPU of one seed, at most."""

    def stream(self, seed: int, held_out: float = 0.0) -> Stream:
        """The experiences of one seed."""
        return Stream(self.kind, self.experiences, seed, held_out)

    def config(self, seed: int, tried: Mapping[str, Any], *, naive: bool = False) -> Config:
        """With settings out of the grid; `naive`: the same training without the strategy."""
        own = {k.removeprefix(STRATEGY): v for k, v in tried.items() if k.startswith(STRATEGY)}
        training = {k: v for k, v in tried.items() if not k.startswith(STRATEGY)}
        strategy = {"name": self.strategy, **self.settings, **own}
        return configuration(
            [{"name": "naive"} if naive else strategy],
            hidden=list(self.hidden),
            factory=self.factory,
            heads=self.stream(seed).heads,
            seed=seed,
            **{**self.training, **training},
        )

    def combinations(self) -> list[dict[str, Any]]:
        """Everything that is tried."""
        values = itertools.product(*self.grid.values())
        return [dict(zip(self.grid, one, strict=True)) for one in values]

    def chosen(self) -> dict[str, Any]:
        """What was best on the validation rows; before any choice the first of each."""
        stored = chosen().get(self.name)
        return dict(stored["best"]) if stored else self.combinations()[0]


def chosen() -> dict[str, Any]:
    """Everything that `choose` wrote, by scenario."""
    return dict(json.loads(CHOSEN.read_text(encoding="utf-8"))) if CHOSEN.exists() else {}


ONLINE = {"epochs": 1, "batch_size": 10}
PLAIN = {"name": "sgd", "momentum": 0.0}

SCENARIOS = (
    Scenario(
        "Permuted MNIST, EWC",
        "permuted",
        10,
        "ewc",
        0.945,
        "paper 0.94; Avalanche's baselines 0.83",
        factory="benchmarks.bodies:dark",
        settings={"form": "proximal"},
        training={"optimizer": "sgd", "schedule": "cosine", "carry_optimizer": False},
        grid={
            "strategy.penalty": (100.0, 200.0),
            "epochs": (2,),
            "learning_rate": (0.1,),
            "batch_size": (64,),
        },
        seconds=120,
    ),
    Scenario(
        "Split MNIST, DER++ 1,000",
        "split",
        5,
        "der++",
        0.94,
        "",
        settings={"size": 1000},
        grid={
            "strategy.alpha": (1.0,),
            "strategy.beta": (2.0, 4.0),
            "strategy.batch_size": (256,),
            "learning_rate": (3e-4, 5e-4),
            "batch_size": (32,),
            "epochs": (2,),
        },
    ),
    Scenario(
        "Split MNIST, replay 1,000, online",
        "split",
        5,
        "replay",
        0.92,
        "Avalanche's baselines 0.92",
        settings={"size": 1000},
        training={**ONLINE, "optimizer": PLAIN},
        grid={
            "strategy.batch_size": (10, 30, 60),
            "learning_rate": (0.03, 0.1),
        },
    ),
    Scenario(
        "Split MNIST, GDumb 4,400",
        "split",
        5,
        "gdumb",
        0.96,
        "Avalanche's baselines 0.97",
        settings={"size": 4400},
        grid={
            "augmentation": ({}, {"crop": 1}, {"crop": 2, "rotation": 10}),
            "epochs": (40,),
            "batch_size": (32,),
            "learning_rate": (1e-3,),
        },
    ),
    Scenario(
        "Split MNIST, LwF",
        "split",
        5,
        "lwf",
        0.23,
        "Avalanche's baselines 0.23",
        training={"optimizer": PLAIN},
        grid={
            "strategy.alpha": (3.0, 10.0, 30.0, 100.0),
            "strategy.temperature": (1.0, 2.0),
            "epochs": (1,),
            "batch_size": (64, 256),
            "learning_rate": (0.003, 0.01, 0.03),
        },
        choice=(TRIED, TRIED + 1, TRIED + 2, TRIED + 3),
    ),
    Scenario(
        "Split MNIST by task, SI",
        "split-tasks",
        5,
        "si",
        0.97,
        "Avalanche's baselines 0.97",
        training={"batch_size": 64},
        grid={
            "strategy.penalty": (1.0, 10.0, 100.0),
            "epochs": (5,),
            "learning_rate": (1e-3,),
        },
    ),
    Scenario(
        "Permuted MNIST, A-GEM, one pass",
        "permuted",
        10,
        "agem",
        0.81,
        "Avalanche's baselines 0.81",
        hidden=(100, 100),
        settings={"size": 2500},
        training={**ONLINE, "optimizer": PLAIN},
        grid={
            "strategy.batch_size": (64,),
            "learning_rate": (0.03, 0.1),
        },
    ),
)
