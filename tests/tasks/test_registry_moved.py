"""A moved workspace keeps its versions, and a copy leaves the original alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlflow
import pytest

from perdure.errors import Corrupt
from perdure.tasks.registry import Registry, moved
from tests.tasks.version_kit import frame, register, version_folder, workspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return version_folder(tmp_path / "version")


@pytest.fixture
def before(tmp_path: Path, folder: Path) -> Path:
    root = tmp_path / "first place" / "weather"
    root.mkdir(parents=True)
    register(Registry(workspace(root)), folder)
    return root


def files(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if "artifacts" in p.parts}


def test_a_moved_workspace_finds_its_versions_and_makes_new_ones(
    before: Path, folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "second plåce"
    before.rename(root)
    registry = Registry(workspace(root))
    [version] = registry.versions()
    assert registry.download(version).is_relative_to(root)
    made = register(registry, folder, learning_key="b" * 64, parent=1)
    assert registry.download(made).is_relative_to(root)
    assert not before.exists()
    with registry.client.current():
        model = mlflow.pyfunc.load_model("models:/weather/1")
        assert len(model.predict(frame(3))) == 3


def test_a_copy_writes_nothing_into_the_original(
    before: Path, folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(before, root)
    there, here = files(before), files(root)
    register(Registry(workspace(root)), folder, learning_key="b" * 64, parent=1)
    assert files(before) == there
    assert files(root) > here


def test_without_it_they_would_be_lost(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "elsewhere"
    before.rename(root)
    monkeypatch.setattr(moved, "adopt", lambda _workspace: None)
    registry = Registry(workspace(root))
    [version] = registry.versions()
    with pytest.raises(Corrupt):
        registry.download(version)


def test_a_workspace_that_stayed_is_not_touched(before: Path) -> None:
    database = before / ".perdure" / "mlflow.db"
    content = database.read_bytes()
    moved.adopt(workspace(before))
    assert database.read_bytes() == content
