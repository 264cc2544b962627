"""Ingests and learns years, in a process of its own.

python -m tests.promises.one_by_one WORKSPACE NUMBER...
"""

from __future__ import annotations

import sys
from pathlib import Path

from perdure.flows.retrain import retrain
from tests.promises import kit


def learn(root: Path, numbers: list[int], *, at_once: bool = False) -> None:
    """Ingest and learn; with `at_once` all in one retraining."""
    if not (root / "perdure.toml").exists():
        kit.make(root, strategies=STRATEGIES)
    for number in numbers:
        kit.ingest(root, kit.table(number))
        if not at_once:
            retrain.fn(str(root))
    retrain.fn(str(root))


STRATEGIES = '[{ name = "replay", size = 40 }, { name = "ewc", penalty = 50 }]'

if __name__ == "__main__":
    learn(Path(sys.argv[1]), [int(text) for text in sys.argv[2:]])
