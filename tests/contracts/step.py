"""One experience, learned in a process of its own by every case.

    python -m tests.contracts.step FOLDER NUMBER

Loads `FOLDER/<case>/<NUMBER - 1>` (a new learner if NUMBER is 0), saves `FOLDER/<case>/<NUMBER>`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from perdure.strategies.learner.learner import Learner
from tests.strategies.small import CASES, ROOT, config_of, learn, new


def step(folder: Path, number: int) -> None:
    for case, strategies in CASES.items():
        config = config_of(strategies)
        if number == 0:
            learner = new(config)
        else:
            learner = Learner.load(folder / case / str(number - 1), config, ROOT)
        learn(learner, number, config)
        learner.save(folder / case / str(number))


if __name__ == "__main__":
    step(Path(sys.argv[1]), int(sys.argv[2]))
