"""A version is trained again, to the same bits; or it is said what is lacking, or differs."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import config
from perdure.errors import ConfigError
from perdure.flows.reproduce import reproduce
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from perdure.flows.verify import verify
from perdure.tasks import locks
from perdure.tasks.registry import runs
from tests.promises import kit

MINE = """
import os, time
from pathlib import Path
from torch import nn

def network(inputs, outputs):
    here = Path(__file__).parent
    if os.environ.get("SLOWLY"):
        Path(os.environ["SLOWLY"]).touch()
        time.sleep(60)
    width = int((here / "width.txt").read_text())
    body = nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, outputs))
    return body if width == 8 else nn.Sequential(body[0], nn.Tanh(), body[2])
"""
"""A model of one's own that reads a file which no learning key knows."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions; the third with a setting that was never committed."""
    root = kit.make(tmp_path_factory.mktemp("template") / "workspace")
    retrain.fn(str(root))
    kit.ingest(root, kit.table(2))
    retrain.fn(str(root))
    text = (root / "perdure.toml").read_text()
    (root / "perdure.toml").write_text(text.replace("epochs = 2", "epochs = 3"))
    kit.ingest(root, kit.table(3))
    retrain.fn(str(root))
    (root / "perdure.toml").write_text(text)
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "workspace", symlinks=True))


def files(root: Path) -> dict[str, str]:
    """Every file of a workspace, git's and MLflow's among them."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        # DVC makes a note of its own when it is opened; a probe of SQLite may fold its log.
        if path.is_file() and not {"tmp", "__pycache__"} & {*path.parts[-3:]}
    }


def test_the_same_bits_and_nothing_is_changed(root: Path) -> None:
    kit.registry(root).versions()  # the copy's registry is turned to its folder
    picture, before = kit.picture(root), files(root)  # git refreshes its index in the first
    with locks.hold(config.read(root), "model", "retrain"):
        for number in (1, 2):
            found = reproduce(str(root), number)
            version = kit.registry(root).version(number)
            assert (found.outcome, found.reasons, found.configuration) == ("same", (), "of now")
            assert found.weights_sha256 == version.weights_sha256
            assert found.state_sha256 == version.state_sha256
            assert {one.name for one in found.machine} >= {"processor", "threads", "torch"}
            assert all(one.then == one.now for one in found.machine)
    after = files(root)
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} <= {
        ".perdure/locks/model.lock", ".perdure/locks/model.json", ".perdure/locks/model",
    }  # fmt: skip
    assert kit.picture(root) == picture


def test_with_the_configuration_as_it_was_committed(root: Path) -> None:
    kit.configure(root, strategies='["naive"]')
    found = reproduce(str(root), 2)
    assert (found.outcome, found.configuration) == ("same", "as committed then")
    kit.git(root, "checkout", "--quiet", "--orphan", "elsewhere")
    kit.git(root, "commit", "--quiet", "--all", "-m", "test: a branch that never had it")
    found = reproduce(str(root), 2)
    assert found.outcome == "impossible"
    assert "training.strategies is" in found.reasons[0]


def test_a_setting_that_was_never_committed_is_named(root: Path) -> None:
    found = reproduce(str(root), 3)
    assert (found.outcome, found.weights_sha256) == ("impossible", None)
    [reason] = found.reasons
    assert "training.epochs is 2, then 3" in reason
    assert "batch_size" not in reason
    registry = kit.registry(root)
    run = registry.version(3).run_id
    registry.client.call("delete_tag", run, runs.CONFIGURATION)
    assert "is not recorded: an older Perdure" in reproduce(str(root), 3).reasons[0]


def test_data_is_fetched_to_a_place_of_its_own_and_may_be_gone(root: Path) -> None:
    shutil.rmtree(root / "data")
    shutil.rmtree(root / ".dvc" / "cache" / "files")
    assert reproduce(str(root), 2).outcome == "same"
    assert not (root / "data").exists()
    assert not (root / ".dvc" / "cache" / "files").exists()
    shutil.rmtree(root / ".perdure" / "dvc-remote" / "files")
    found = reproduce(str(root), 2)
    assert found.outcome == "impossible"
    assert "its data is gone" in found.reasons[0]


def test_a_parent_that_was_pruned_and_one_that_is_gone(root: Path) -> None:
    copy = Path(shutil.copytree(root, root.with_name("other"), symlinks=True))
    registry = kit.registry(root)
    registry.client.call("delete_registered_model_alias", kit.MODEL, "anchor")
    assert registry.remove({1: "nothing needs it"}, "prune", "ada").removed
    found = reproduce(str(root), 2)
    assert found.outcome == "impossible"
    assert "version 1 was removed on" in found.reasons[0]
    assert "by prune" in found.reasons[0]
    verified = verify(str(root), 2)
    assert verified.ok
    [lineage] = [one for one in verified.checks if one.name == "lineage"]
    assert "version 2; version 1 before was removed on" in lineage.detail

    kit.registry(copy).client.call("delete_model_version", kit.MODEL, "1")
    assert "there is no version 1" in reproduce(str(copy), 2).reasons[0]
    wrong = [one for one in verify(str(copy), 2).checks if not one.ok]
    assert [one.name for one in wrong] == ["lineage"]
    assert "the history does not say that it was removed" in wrong[0].detail


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Path]:
    """One version of a model of one's own."""
    root = kit.make(tmp_path / "workspace")
    (root / "mine.py").write_text(MINE)
    (root / "width.txt").write_text("8")
    text = (root / "perdure.toml").read_text()
    text = text.replace("parameters = { hidden = [8] }", 'factory = "mine.py:network"')
    (root / "perdure.toml").write_text(text)
    kit.git(root, "add", ".")
    kit.git(root, "commit", "--quiet", "--all", "-m", "test: a model of one's own")
    retrain.fn(str(root))
    yield root
    sys.modules.pop("mine", None)


def test_what_no_learning_key_knows_gives_other_bits(mine: Path) -> None:
    assert reproduce(str(mine), 1).outcome == "same"
    (mine / "width.txt").write_text("9")
    found = reproduce(str(mine), 1)
    assert found.outcome == "other"
    assert found.weights_sha256 != kit.registry(mine).version(1).weights_sha256
    assert found.reasons == (
        "nothing that is recorded differs; files that your own code imports are not",
    )
    (mine / "mine.py").write_text(MINE + "\n# changed\n")
    (mine / "width.txt").write_text("8")
    found = reproduce(str(mine), 1)
    assert (found.outcome, found.configuration) == ("same", "as committed then")


def test_killed_it_leaves_the_workspace_as_it_was(mine: Path, tmp_path: Path) -> None:
    before, marker = files(mine), tmp_path / "it trains"
    process = subprocess.Popen(
        [sys.executable, "-m", "perdure", "reproduce", "1", "-w", str(mine)],
        env={**os.environ, "SLOWLY": str(marker), "TMPDIR": str(tmp_path),
             "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    while not marker.exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert files(mine) == before
    assert kit.registry(mine).versions()[-1].version == 1


def test_a_rollback_tries_a_model_file_that_has_changed_since(mine: Path) -> None:
    kit.ingest(mine, kit.table(2))
    retrain.fn(str(mine))
    before = kit.learners(mine)
    (mine / "mine.py").write_text(
        MINE.replace("inputs, 8", "inputs, 9").replace("Linear(8,", "Linear(9,")
    )
    with pytest.raises(ConfigError, match="no longer fits the saved weights"):
        rollback.fn(str(mine))
    assert kit.learners(mine) == before
    (mine / "mine.py").write_text(MINE + "\n# changed, and it fits\n")
    assert rollback.fn(str(mine)).version == 1
