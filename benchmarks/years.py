"""Twenty years of weather: learned year by year, beside training anew on all years so far.

Both have every default, but that training anew needs no memory. Seconds are of the processor, and
of training alone: from raw rows to a saved learner.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.results import Row
from perdure.cli.demo import sample
from perdure.config import Workspace, parse
from perdure.tasks import evaluation, training
from perdure.tasks.tables import check, splitting
from perdure.tasks.tables import schema as schemas

if TYPE_CHECKING:
    from perdure.strategies.features.columns import FeatureSpec

PART = "years"
YEARS, SEEDS = 20, (0, 1, 2)
TIME, BEHIND = "training time, anew to year by year", "accuracy behind training anew"
LEAST, MOST = 8.0, 0.01
_CONFIG = """
[model]
name = "weather"
[data]
target = "{target}"
task = "classification"
[training]
seed = {seed}
"""
_ANEW = """
[[training.strategies]]
name = "naive"
"""


@dataclass(frozen=True)
class Learned:
    """What one way of learning came to."""

    seconds: float
    """Of all trainings together."""
    accuracy: float
    """On the test rows of all years so far, the mean over the years."""


def measure(only: str, begins: Callable[[str, int], Callable[[int], None]]) -> Iterator[Row]:
    """How many times as long training anew takes, and how much better it is."""
    if not any(only in name for name in (TIME, BEHIND)):
        return
    found = _prepared()
    advance = begins(f"{YEARS} years, {len(SEEDS)} seeds", 2 * len(SEEDS))
    pairs: list[tuple[Learned, Learned]] = []
    for seed in SEEDS:
        one = _learn(found, seed, anew=False)
        advance(1)
        pairs.append((one, _learn(found, seed, anew=True)))
        advance(1)
    times = [anew.seconds / one.seconds for one, anew in pairs]
    behind = [anew.accuracy - one.accuracy for one, anew in pairs]
    seconds = [float(np.mean([pair[place].seconds for pair in pairs])) for place in (0, 1)]
    accuracy = [float(np.mean([pair[place].accuracy for pair in pairs])) for place in (0, 1)]
    yield Row(
        PART, TIME, float(np.median(times)), LEAST, repeats=tuple(times),
        note=f"{seconds[1]:.1f} s and {seconds[0]:.1f} s for {YEARS} trainings",
    )  # fmt: skip
    yield Row(
        PART, BEHIND, float(np.mean(behind)), MOST, most=True, repeats=tuple(behind),
        note=f"{accuracy[1]:.4f} and {accuracy[0]:.4f}, the mean over {YEARS} years",
    )  # fmt: skip


@dataclass(frozen=True)
class _Years:
    """The years as a workspace has them: accepted rows, and the side of each."""

    spec: FeatureSpec
    frames: Sequence[pd.DataFrame]
    sides: Sequence[NDArray[np.str_]]


def _prepared() -> _Years:
    years = sample.years(sample.record())[:YEARS]
    schema = schemas.infer(years[0], sample.TARGET, "classification")
    spec = schema.feature_spec()
    frames = [check.check(year, schema).accepted for year in years]
    sides = [splitting.splits(splitting.keys(one, spec.columns), 0.2, 0.1) for one in frames]
    return _Years(spec, frames, sides)


def _learn(years: _Years, seed: int, *, anew: bool) -> Learned:
    spec, seconds, accuracies = years.spec, 0.0, []
    with tempfile.TemporaryDirectory(prefix="perdure-bench-") as place:
        root = Path(place)
        text = _CONFIG.format(target=sample.TARGET, seed=seed) + (_ANEW if anew else "")
        ws = Workspace(root, parse(text))
        parent = None
        for number in range(1, YEARS + 1):
            first = 0 if anew else number - 1
            frame = pd.concat(years.frames[first:number], ignore_index=True)
            sides = np.concatenate(years.sides[first:number])
            folder = root / str(number)
            start = time.process_time()
            training.train(ws, spec, parent, f"{number:06d}-00000000", frame, sides, folder)
            seconds += time.process_time() - start
            so_far = pd.concat(years.frames[:number], ignore_index=True)
            test = so_far[np.concatenate(years.sides[:number]) == "test"]
            outputs = training.outputs(ws, spec, folder, test)
            score = evaluation.score(spec.task, training.truth(spec, test), outputs)
            accuracies.append(score["accuracy"])
            parent = None if anew else folder
    return Learned(seconds, float(np.mean(accuracies)))
