"""Whether the cost of learning one experience grows with the number of those before it."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.data import ROOT, SPEC, configuration, rows
from benchmarks.measure import in_turns
from perdure.strategies import engine
from perdure.strategies.learner import Learner

Row = tuple[str, str, str]

MANY = 40


def table(count: int = 2_000) -> list[Row]:
    """Time to learn one more, and size of the learner: after many experiences, to after one."""
    result = []
    for name, strategies in {
        "naive": ["naive"],
        "replay 2,000": ["replay"],
        "ewc": ["ewc"],
        "ewc + replay": ["ewc", "replay"],
    }.items():
        config = configuration(strategies, 1, 64, [128, 128])
        learner = Learner.new(SPEC, config, ROOT, *rows(count, 0))
        snapshots: dict[int, Learner] = {}
        for number in range(1, MANY + 1):
            engine.learn(learner, str(number), *rows(count, number), *rows(0, 0), config)
            if number in (1, MANY):
                snapshots[number] = copy.deepcopy(learner)
        seconds = in_turns({str(n): _job(one, config, count) for n, one in snapshots.items()})
        sizes = {n: _size(one) for n, one in snapshots.items()}
        result.append(
            (
                name,
                f"time {seconds[str(MANY)] / seconds['1']:.2f}",
                f"size {sizes[MANY] / sizes[1]:.2f}",
            )
        )
    return result


def _job(learner: Learner, config: Any, count: int) -> Any:
    columns, target = rows(count, 99)

    def job() -> None:
        engine.learn(copy.deepcopy(learner), "next", columns, target, *rows(0, 0), config)

    return job


def _size(learner: Learner) -> int:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "learner"
        learner.save(place)
        return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
