"""The sets of the benchmark of tables: small real ones that packages ship, and generated streams.

Each comes in blocks, in the order of its file, as the files of a workspace. Settings of the default
learner are to be chosen on the sets whose `use` is `choose`, and to be judged by the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from benchmarks.decisions import ELECTRICITY
from perdure.cli.demo import sample
from perdure.config import Task

MOST_ROWS = 10_000
"""Of one set: the first ones."""
SMALLEST_BLOCK = 40


@dataclass(frozen=True)
class TableSet:
    """One set.

    Attributes:
        name: Of the set.
        task: What is predicted.
        use: Whether settings are chosen on it, or figures reported.
        make: Makes the rows.
        shuffled: The file is sorted, or has no order: its rows are shuffled with a fixed seed.
        target: The column to predict.
    """

    name: str
    task: Task
    use: Literal["choose", "report"]
    make: Callable[[], pd.DataFrame]
    shuffled: bool = False
    target: str = "target"

    def blocks(self) -> list[pd.DataFrame]:
        """The rows in 5 to 10 blocks, all columns as text, as from a CSV file."""
        frame = self.make()
        if self.shuffled:
            frame = frame.sample(frac=1.0, random_state=0)
        frame = frame.head(MOST_ROWS).reset_index(drop=True).rename(columns=str)
        count = int(np.clip(len(frame) // 200, 3, 10))
        count = max(1, min(count, len(frame) // SMALLEST_BLOCK))
        parts = np.array_split(np.arange(len(frame)), count)
        return [frame.iloc[part].reset_index(drop=True) for part in parts]


def _sklearn(name: str) -> Callable[[], pd.DataFrame]:
    def make() -> pd.DataFrame:
        from sklearn import datasets

        found: Any = getattr(datasets, f"load_{name}")(as_frame=True)
        frame: pd.DataFrame = found.frame
        return frame

    return make


def _river(name: str, target: str | None = None) -> Callable[[], pd.DataFrame]:
    def make() -> pd.DataFrame:
        from river import datasets

        return _rows(getattr(datasets, name)(), target)

    return make


def _synth(name: str, rows: int = 4_000, **settings: Any) -> Callable[[], pd.DataFrame]:
    def make() -> pd.DataFrame:
        from river.datasets import synth

        return _rows(getattr(synth, name)(seed=1, **settings).take(rows), None)

    return make


def _rows(stream: Iterator[Any], target: str | None) -> pd.DataFrame:
    rows = [
        {**x, "target": y[target] if target is not None and isinstance(y, dict) else y}
        for _, (x, y) in zip(range(MOST_ROWS), stream, strict=False)
    ]
    return pd.DataFrame(rows)


def _sea() -> pd.DataFrame:
    """SEA concepts, four in turn, ten per cent of noise (Street and Kim 2001)."""
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 10, (8_000, 3))
    limits = np.repeat([8.0, 9.0, 7.0, 9.5], 2_000)
    label = (x[:, 0] + x[:, 1] <= limits) ^ (rng.random(8_000) < 0.1)
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "target": label})


def _hyperplane() -> pd.DataFrame:
    """A hyperplane that turns slowly, five per cent of noise (Hulten, Spencer, Domingos 2001)."""
    rng = np.random.default_rng(2)
    rows, columns = 8_000, 10
    x = rng.uniform(0, 1, (rows, columns))
    angle = np.linspace(0, np.pi / 2, rows)[:, None]
    first, last = rng.normal(size=(2, columns))
    weights = np.cos(angle) * first + np.sin(angle) * last
    label = ((x - 0.5) * weights).sum(axis=1) > 0
    label ^= rng.random(rows) < 0.05
    frame = pd.DataFrame(x, columns=[f"x{j}" for j in range(columns)])
    return frame.assign(target=label)


def _electricity() -> pd.DataFrame:
    """The electricity market of New South Wales; see `decisions.electricity`."""
    return pd.read_csv(ELECTRICITY)


def sets() -> Iterator[TableSet]:
    """All sets that are here."""
    for one in SETS:
        if one.make is not _electricity or ELECTRICITY.exists():
            yield one


SETS = (
    TableSet("iris", "classification", "choose", _sklearn("iris"), shuffled=True),
    TableSet("digits", "classification", "choose", _sklearn("digits")),
    TableSet("diabetes", "regression", "choose", _sklearn("diabetes")),
    TableSet("bananas", "classification", "choose", _river("Bananas")),
    TableSet("chick weights", "regression", "choose", _river("ChickWeights"), shuffled=True),
    TableSet("Trump approval", "regression", "choose", _river("TrumpApproval")),
    TableSet("Agrawal", "classification", "choose", _synth("Agrawal")),
    TableSet("Friedman", "regression", "choose", _synth("Friedman")),
    TableSet("SEA", "classification", "choose", _sea),
    TableSet("weather", "classification", "choose", sample.record, target=sample.TARGET),
    TableSet("wine", "classification", "report", _sklearn("wine"), shuffled=True),
    TableSet("breast cancer", "classification", "report", _sklearn("breast_cancer")),
    TableSet("airline passengers", "regression", "report", _river("AirlinePassengers")),
    TableSet("image segments", "classification", "report", _river("ImageSegments"), shuffled=True),
    TableSet("phishing", "classification", "report", _river("Phishing")),
    TableSet("solar flare", "regression", "report", _river("SolarFlare", "c-class-flares")),
    TableSet("shuttle", "classification", "report", _river("Shuttle")),
    TableSet("water flow", "regression", "report", _river("WaterFlow")),
    TableSet("waveform", "classification", "report", _synth("Waveform")),
    TableSet("Mv", "regression", "report", _synth("Mv")),
    TableSet("hyperplane", "classification", "report", _hyperplane),
    TableSet("electricity", "classification", "report", _electricity, target="direction"),
)
