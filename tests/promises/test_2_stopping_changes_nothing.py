"""Promise 2. The same years, one process each or all in one: the same learner, bit for bit.

Every strategy by itself, and each part of its state: tests/contracts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.promises import kit, one_by_one

REPOSITORY = Path(__file__).parents[2]

ANOTHER_DAY = {
    "TZ": "America/St_Johns",
    "PYTHONHASHSEED": "2",
    "OMP_NUM_THREADS": "2",
    "LC_ALL": "C",
    "PYTHONPATH": str(REPOSITORY),
}


def elsewhere(root: Path, *arguments: str) -> None:
    """Ingest and learn, each year in a retraining of its own, in another process."""
    subprocess.run(
        [sys.executable, "-m", "tests.promises.one_by_one", str(root), *arguments],
        cwd=root.parent,
        env={**os.environ, **ANOTHER_DAY},
        check=True,
        capture_output=True,
    )


def test_one_by_one_in_another_process_folder_and_zone(tmp_path: Path) -> None:
    here = tmp_path / "here"
    one_by_one.learn(here, [2, 3], at_once=True)

    there = tmp_path / "elsewhere" / "a folder with blanks"
    there.parent.mkdir()
    one_by_one.learn(there, [])
    elsewhere(there, "2", "3")
    assert kit.learners(there) == kit.learners(here)
    assert len(kit.learners(here)[0]["cursor"]) == 3
    # As many retrainings as experiences there, and one here.
    assert len(kit.registry(there).versions()) == len(kit.registry(here).versions()) == 3


@pytest.mark.timeout(600)
def test_who_serves_and_the_evidence_for_it_are_the_same(tmp_path: Path) -> None:
    """A world that changes for two years, and back: a contender proves right, and is taken back."""
    here, there = tmp_path / "here", tmp_path / "there"
    one_by_one.learn(here, [2, -3, -4, 5], at_once=True, steady=True)
    elsewhere(there, "--steady", "2", "-3")
    elsewhere(there, "--steady", "-4", "5")
    one, other = kit.picture(here), kit.picture(there)
    for what in ("tournament", "aliases", "others", "held", "pending", "history"):
        assert one[what] == other[what], what
    assert kit.learners(here) == kit.learners(there)
    actions = [event["action"] for event in one["history"]]
    assert {"refused", "promoted", "rolled back"} <= set(actions)
    assert '"rows":120' in one["tournament"]


def test_another_seed_is_another_learner(tmp_path: Path) -> None:
    """The digests say something."""
    found = []
    for seed in (0, 2):  # with 1 the first version names one class alone, and does not serve
        root = kit.make(tmp_path / str(seed))
        text = (root / "perdure.toml").read_text().replace("epochs", f"seed = {seed}\nepochs")
        (root / "perdure.toml").write_text(text)
        one_by_one.learn(root, [])
        found.append(kit.learners(root)[0])
    assert found[0]["weights"] != found[1]["weights"]
    assert found[0]["state"] != found[1]["state"]
