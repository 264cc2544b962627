"""Promise 2 with real processes: stopping changes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from perdure.strategies.learner.learner import Learner
from tests.contracts.step import step
from tests.strategies.small import CASES, ROOT, config_of, learned

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_three_processes_learn_what_one_does(tmp_path: Path) -> None:
    for number in range(2):
        subprocess.run(
            [sys.executable, "-m", "tests.contracts.step", str(tmp_path), str(number)],
            cwd=REPOSITORY,
            check=True,
        )
    step(tmp_path, 2)  # the third process is this one
    assert len(CASES) == 22
    for case, strategies in CASES.items():
        config = config_of(strategies)
        here = learned(config, 3)
        there = Learner.load(tmp_path / case / "2", config, ROOT)
        assert there.weights_sha256 == here.weights_sha256
        assert there.state_sha256 == here.state_sha256
        assert there.cursor == here.cursor == ("000000", "000001", "000002")
