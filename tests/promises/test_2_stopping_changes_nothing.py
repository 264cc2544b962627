"""Promise 2. The same years, one process each or all in one: the same learner, bit for bit.

Every strategy by itself, and each part of its state: tests/contracts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.promises import kit, one_by_one

REPOSITORY = Path(__file__).parents[2]

DAYS = (
    {"TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"},
    {"TZ": "America/St_Johns", "PYTHONHASHSEED": "2", "OMP_NUM_THREADS": "2", "LC_ALL": "C"},
)


def test_one_by_one_in_other_processes_folders_and_zones(tmp_path: Path) -> None:
    here = tmp_path / "here"
    one_by_one.learn(here, [2, 3])

    there = tmp_path / "elsewhere" / "a folder with blanks"
    there.parent.mkdir()
    moved = tmp_path / "somewhere"
    moved.mkdir()
    for number, day in enumerate(DAYS, 2):
        years = [] if number == 2 else [2, 3]  # the first experience comes with the workspace
        subprocess.run(
            [sys.executable, "-m", "tests.promises.one_by_one", str(there), *map(str, years)],
            cwd=moved if number == 2 else tmp_path,
            env={**os.environ, **day, "PYTHONPATH": str(REPOSITORY)},
            check=True,
            capture_output=True,
        )
    assert kit.learners(there) == kit.learners(here)
    assert len(kit.learners(here)[0]["cursor"]) == 3
    assert kit.learners(there)[0]["state"] != kit.learners(there)[0]["weights"]


def test_another_seed_is_another_learner(tmp_path: Path) -> None:
    """The digests say something."""
    found = []
    for seed in (0, 1):
        root = kit.make(tmp_path / str(seed))
        text = (root / "perdure.toml").read_text().replace("epochs", f"seed = {seed}\nepochs")
        (root / "perdure.toml").write_text(text)
        one_by_one.learn(root, [])
        found.append(kit.learners(root)[0])
    assert found[0]["weights"] != found[1]["weights"]
    assert found[0]["state"] != found[1]["state"]
