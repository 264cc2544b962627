"""A small stream of mixed columns, and short ways to learn it."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from perdure.config import Config, Task
from perdure.records import Trained
from perdure.strategies import catalogue
from perdure.strategies.features.columns import Array, Column, FeatureSpec
from perdure.strategies.learner.learner import Learner
from perdure.strategies.learner.state import State
from perdure.strategies.training import engine

Table = tuple[dict[str, Array], Array]
ROOT = Path("nowhere")
"""No test here needs a workspace on disk."""

CASES: dict[str, list[Any]] = {
    "naive": ["naive"],
    "replay": [{"name": "replay", "size": 50, "batch_size": 16}],
    "ewc": [{"name": "ewc", "penalty": 50.0}],
    "ewc+replay": [{"name": "replay", "size": 50}, {"name": "ewc", "penalty": 50.0}],
    "si": [{"name": "si", "penalty": 5.0}],
    "mas": [{"name": "mas", "penalty": 5.0}],
    "lwf": ["lwf"],
    "replay+si": [{"name": "replay", "size": 50}, {"name": "si", "penalty": 5.0}],
    "mas+replay": [{"name": "replay", "size": 50}, {"name": "mas", "penalty": 5.0}],
    "lwf+replay": [{"name": "replay", "size": 50}, "lwf"],
    "ewc+lwf": [{"name": "ewc", "penalty": 50.0}, "lwf"],
    "lwf+mas": ["lwf", {"name": "mas", "penalty": 5.0}],
    "lwf+si": ["lwf", {"name": "si", "penalty": 5.0}],
    "der": [{"name": "der", "size": 50, "batch_size": 16}],
    "der++": [{"name": "der++", "size": 50}],
    "er-ace": [{"name": "er-ace", "size": 50}],
    "agem": [{"name": "agem", "size": 50}],
    "gem": [{"name": "gem", "size": 15, "memories": 2}],
    "gdumb": [{"name": "gdumb", "size": 50}],
    "icarl": [{"name": "icarl", "size": 50}],
    "cumulative": ["cumulative"],
    "joint": ["joint"],
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "replay of classes": ("replay", {"policy": "class-balanced"}),
    "replay of experiences": ("replay", {"policy": "experience-balanced"}),
    "online ewc": ("ewc", {"online": True, "decay": 0.5, "rows": 20}),
    "proximal ewc": ("ewc", {"form": "proximal"}),
    "mas of some rows": ("mas", {"decay": 0.5, "rows": 20}),
}
"""Cases with settings that keep, draw or do something else: of each, the case and the settings."""
TASKS: tuple[Task, ...] = ("classification", "regression")


def tasks_of(case: str) -> tuple[Task, ...]:
    """The tasks that every strategy of a case fits."""
    known = catalogue.discover()
    return tuple(t for t in TASKS if all(t in known[name].fits for name in names_of(case)))


def names_of(case: str) -> list[str]:
    """The names of a case's strategies."""
    return [one if isinstance(one, str) else one["name"] for one in CASES[case]]


def variant(name: str) -> list[Any]:
    """The strategies of a variant: its case's, with its settings."""
    case, settings = VARIANTS[name]
    (plain,) = CASES[case]
    return [{**plain, **settings}]


def spec_of(task: Task = "classification") -> FeatureSpec:
    columns = (
        Column("a", "number"),
        Column("colour", "category", ("red", "green")),
        Column("b", "number"),
    )
    return FeatureSpec(columns, "y", task, ("no", "yes") if task == "classification" else ())


def config_of(strategies: Any, task: Task = "classification", **training: Any) -> Config:
    model = training.pop("model", {"parameters": {"hidden": [8], "dropout": 0.1}})
    training = {"epochs": 2, "batch_size": 16, "device": "cpu", **training}
    return Config.model_validate(
        {
            "model": {"name": "m", **model},
            "data": {"target": "y", "task": task},
            "training": {"strategies": strategies, **training},
        }
    )


def table(number: int, task: Task = "classification", rows: int = 60) -> Table:
    """Experience `number`: the rule drifts from one to the next; some values are missing."""
    rng = np.random.default_rng(number)
    a, b = rng.normal(number, 2.0, rows), rng.normal(0.0, 1.0, rows)
    colour = rng.choice(np.array(["red", "green", None], dtype=object), rows)
    value = np.cos(number) * (a - number) + np.sin(number) * 3 * b + (colour == "red")
    a[rng.random(rows) < 0.1] = np.nan
    target: Array = value
    if task == "classification":
        target = np.where(value > 0, "yes", "no").astype(object)
    return {"a": a, "b": b, "colour": colour}, target


def new(config: Config, task: Task = "classification") -> Learner:
    columns, target = table(0, task)
    return Learner.new(spec_of(task), config, ROOT, columns, target)


def learn(learner: Learner, number: int, config: Config) -> Trained:
    task = learner.spec.task
    rows, watched = table(number, task), table(100 + number, task, rows=20)
    return engine.learn(learner, f"{number:06d}", *rows, *watched, config)


def learned(config: Config, experiences: int, task: Task = "classification") -> Learner:
    """Learned in one go."""
    learner = new(config, task)
    for number in range(experiences):
        learn(learner, number, config)
    return learner


@cache
def _once(case: str, experiences: int, task: Task) -> Learner:
    return learned(config_of(CASES[case], task), experiences, task)


def once(case: str, experiences: int, task: Task = "classification") -> Learner:
    """A copy of what a case learned in one go; learned once for all tests of a run."""
    return copied(_once(case, experiences, task))


def reloaded(learner: Learner, folder: Path, config: Config) -> Learner:
    learner.save(folder)
    return Learner.load(folder, config, ROOT, spec_of(learner.spec.task))


def copied(learner: Learner) -> Learner:
    return copy.deepcopy(learner)


def sizes(learner: Learner) -> dict[str, int]:
    """Bytes of what each strategy remembers."""
    return {name: _bytes(state) for name, state in learner.memory.items()}


def _bytes(state: State) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in state.tensors.values())
