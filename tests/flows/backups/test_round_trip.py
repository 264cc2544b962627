"""What is made of a backup is the same workspace, and goes on to the same learners."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from perdure.flows import ingest, status
from perdure.flows.backup import backup
from perdure.flows.restore import restore
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from tests.promises import kit


def everything(root: Path) -> dict[str, Any]:
    """What must be the same in the copy."""
    found = status.status(str(root))
    del found["disk_free_bytes"]  # of the machine, and other processes write to it, too
    return {
        **kit.picture(root),
        "learners": kit.learners(root),
        "status": found,
        "log": kit.git(root, "log", "--all", "--format=%H %s"),
        "refs": kit.git(root, "for-each-ref", "refs/heads", "refs/tags"),
        "branch": kit.git(root, "symbolic-ref", "HEAD"),
        "toml": (root / "perdure.toml").read_text(),
        "registry": (root / ".perdure" / "registry.id").read_text(),
        "notes": (root / "notes" / "own.md").read_text(),
    }


def test_restored_elsewhere_it_is_the_same(root: Path, tmp_path: Path) -> None:
    was = everything(root)
    backup(str(root), tmp_path / "backups")
    root.rename(tmp_path / "hidden")  # nothing may be read from where it was
    made = tmp_path / "anöther place"
    done = restore(tmp_path / "backups", made)
    assert (done.path, done.model, done.champion) == (str(made), "small", 2)
    assert (done.versions, done.experiences, done.lacks) == (3, 4, ())
    assert kit.differences(everything(made), was) == []
    assert was["inbox"] == [".gitkeep", "waiting.csv"]
    assert len(was["quarantined"]) == 1
    assert len(was["changed"]) == 2
    address = kit.git(made, "remote", "get-url", "origin").strip()
    assert address == "https://example.org/weather.git"
    assert rollback.fn(str(made)).version == 1
    assert not root.exists()


# Threads share their filters: what one of them lets pass may be an error again for the other.
@pytest.mark.filterwarnings("ignore")
def test_copied_while_everything_runs_it_goes_on_to_the_same_learner_bit_for_bit(
    root: Path, tmp_path: Path
) -> None:
    """An ingest and a retraining go on meanwhile, and share nothing with it but the files."""
    place = tmp_path / "backups"
    was = kit.learners(root)

    def work() -> None:
        ingest.ingest.fn(str(root))
        retrain.fn(str(root))

    made = []
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(work)
        while not busy.done():
            made.append(Path(backup(str(root), place).path))
            with suppress(TimeoutError):
                busy.result(0.1)  # it has work to do as well
        busy.result()
    assert len(made) >= 3
    made.append(Path(backup(str(root), place).path))
    hidden = root.rename(tmp_path / "hidden")
    ends = kit.learners(hidden)
    assert ends[0]["weights"] != was[0]["weights"]

    last = restore(made[-1], tmp_path / "last")
    assert (last.versions, last.experiences) == (5, 5)
    assert kit.learners(tmp_path / "last") == ends
    copy = tmp_path / "between"
    done = restore(made[len(made) // 2], copy)
    assert (done.versions, done.experiences) != (5, 5)
    kit.ingest(copy, kit.table(5))  # or it is known
    retrain.fn(str(copy))
    assert kit.learners(copy) == ends
    assert kit.picture(copy)["left"] == []
    assert rollback.fn(str(copy), to=2).version == 2
    assert kit.learners(copy) == was
    assert not root.exists()


def test_a_workspace_below_the_top_of_its_repository(prepared: Path, tmp_path: Path) -> None:
    top, made = tmp_path / "models", tmp_path / "made"
    root = top / "deep" / "weather"
    shutil.copytree(prepared, root, symlinks=True)
    shutil.rmtree(root / ".git")
    subprocess.run(["git", "init", "--quiet", "-b", "trunk", str(top)], check=True)
    (top / "other.txt").write_text("another model\n")
    (root / "gone.md").write_text("of the workspace\n")
    kit.git(top, "add", ".")
    kit.git(top, "commit", "--quiet", "-m", "two models")
    (root / "gone.md").unlink()
    (top / "other.txt").write_text("not the workspace's, and not committed\n")
    kit.git(top, "checkout", "--quiet", "--detach")

    backup(str(root), tmp_path / "backups")
    done = restore(tmp_path / "backups", made)
    assert done.path == str(made / "deep" / "weather")
    assert (done.versions, done.champion, done.experiences) == (3, 2, 4)
    assert (made / "other.txt").read_text() == "another model\n"
    assert kit.git(made, "status", "--porcelain").split() == ["D", "deep/weather/gone.md"]
    assert kit.git(made, "rev-parse", "HEAD") == kit.git(top, "rev-parse", "HEAD")
    assert kit.git(made, "branch", "--show-current") == ""
