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

ANOTHER_DAY = {
    "TZ": "America/St_Johns",
    "PYTHONHASHSEED": "2",
    "OMP_NUM_THREADS": "2",
    "LC_ALL": "C",
    "PYTHONPATH": str(REPOSITORY),
}


def test_one_by_one_in_another_process_folder_and_zone(tmp_path: Path) -> None:
    here = tmp_path / "here"
    one_by_one.learn(here, [2, 3], at_once=True)

    there = tmp_path / "elsewhere" / "a folder with blanks"
    there.parent.mkdir()
    one_by_one.learn(there, [])
    subprocess.run(
        [sys.executable, "-m", "tests.promises.one_by_one", str(there), "2", "3"],
        cwd=there.parent,
        env={**os.environ, **ANOTHER_DAY},
        check=True,
        capture_output=True,
    )
    assert kit.learners(there) == kit.learners(here)
    assert len(kit.learners(here)[0]["cursor"]) == 3
    # As many retrainings as experiences there, and one here.
    assert len(kit.registry(there).versions()) == len(kit.registry(here).versions()) == 3


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
