"""Ingests and learns years, in a process of its own.

python -m tests.promises.one_by_one WORKSPACE NUMBER...
python -m tests.promises.one_by_one WORKSPACE --steady NUMBER...

With `--steady` the years are of a world that stands still, and of its labels turned round where
the number is negative.
"""

from __future__ import annotations

import sys
from pathlib import Path

from perdure.flows.retrain import retrain
from tests.promises import kit


def learn(root: Path, numbers: list[int], *, at_once: bool = False, steady: bool = False) -> None:
    """Ingest and learn; with `at_once` all in one retraining."""
    if not (root / "perdure.toml").exists():
        if steady:
            kit.make(root, text=kit.steady(1), past="0.02")
        else:
            kit.make(root, strategies=STRATEGIES)
    for number in numbers:
        kit.ingest(
            root, kit.steady(abs(number), turned=number < 0) if steady else kit.table(number)
        )
        if not at_once:
            retrain.fn(str(root))
    retrain.fn(str(root))


STRATEGIES = '[{ name = "replay", size = 40 }, { name = "ewc", penalty = 50 }]'

if __name__ == "__main__":
    _, where, *given = sys.argv
    years = [int(text) for text in given if text != "--steady"]
    learn(Path(where), years, steady="--steady" in given)
