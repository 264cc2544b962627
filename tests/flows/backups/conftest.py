"""One prepared workspace for all tests of backups, and one backup of it."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from perdure import config
from perdure.flows.backup import backup
from perdure.orchestration import registry_identity
from perdure.tasks.registry import moved
from tests.flows.test_old_workspace import ARCHIVE
from tests.promises import kit


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that no test changes.

    Versions 1 to 3, of which 2 is the champion and 3 was refused; an experience that is pending, a
    file in quarantine, one that waits, and much that is not committed. Nothing of it is trained
    here: it is the workspace of `test_old_workspace.py`.
    """
    folder = tmp_path_factory.mktemp("prepared")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    root = (folder / "workspace").rename(folder / "first place")
    moved.adopt(config.read(root))
    kit.ingest(root, kit.table(3).replace("a,b,", "a,c,"))
    kit.arrive(root, "waiting.csv", kit.table(5))
    with (root / "perdure.toml").open("a") as file:
        file.write("# not committed\n")
    (root / "notes").mkdir()
    (root / "notes" / "own.md").write_text("untracked\n")
    kit.git(root, "remote", "add", "origin", "https://ada:pa55word@example.org/weather.git")
    kit.git(root, "branch", "side")
    kit.git(root, "tag", "v1")
    registry_identity.named(config.read(root))
    return root


@pytest.fixture(scope="session")
def kept(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one backup of it, to be read only."""
    place = tmp_path_factory.mktemp("kept")
    backup(str(prepared), place)
    return place


@pytest.fixture
def root(prepared: Path, tmp_path: Path) -> Path:
    """A copy of the prepared workspace, to be changed."""
    return Path(shutil.copytree(prepared, tmp_path / "weather", symlinks=True))
