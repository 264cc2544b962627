"""Versions are removed: the files go, what they were stays; killed anywhere, it is finished."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from perdure.errors import UsageError
from perdure.records import Change, Event, Version
from perdure.tasks.registry import Registry, artifacts, codec, copying
from perdure.tasks.registry.state import StateReader
from tests.tasks.server_kit import Server
from tests.tasks.version_kit import AT, register, version_folder, workspace

WHY = "nothing needs it"


class Killed(BaseException):
    """Like SIGKILL, nothing catches it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return version_folder(tmp_path_factory.mktemp("built") / "version")


def figures(place: Path) -> dict[str, Path]:
    place.mkdir(parents=True, exist_ok=True)
    picture = place / "matrix.png"
    picture.write_bytes(b"picture" * 100)
    return {"matrix": picture}


def grow(registry: Registry, folder: Path, count: int) -> list[Version]:
    """Versions that go on from each other, with figures in their runs; the last one serves."""
    found: list[Version] = []
    for _ in range(count):
        number = len(registry.versions()) + 1
        found.append(
            register(
                registry,
                folder,
                learning_key=f"{number:064d}",
                parent=found[-1].version if found else None,
                figures=figures(registry.workspace.root / "figures"),
            )
        )
    last = found[-1].version
    registry.apply(Change(f"serve {last}", aliases={"champion": last, "challenger": last}))
    return found


def stored(root: Path) -> set[str]:
    """Everything in the folder of the artifacts."""
    store = root / ".perdure" / "artifacts"
    return {str(path.relative_to(store)) for path in store.rglob("*")}


def call_log(registry: Registry, fatal: int = -1) -> list[str]:
    """Names of the calls to MLflow and of the steps on files; dies before number `fatal`."""
    original, names = registry.client.call, list[str]()

    def call(name: str, *args: Any, **kwargs: Any) -> Any:
        if not name.startswith(("get_", "search_")):
            if len(names) == fatal:
                raise Killed(name)
            names.append(name)
        return original(name, *args, **kwargs)

    registry.client.call = call  # type: ignore[method-assign]
    return names


def test_its_files_go_and_what_it_was_stays(root: Path, folder: Path) -> None:
    before = stored(root)
    registry = Registry(workspace(root, "one"))
    first, second, third = grow(registry, folder, 3)
    run = registry.client.call("get_run", second.run_id)
    size = registry.size(2)
    assert size > (folder / "model.pt2").stat().st_size + 700
    assert [path for path in stored(root) if second.run_id in path]

    done = registry.remove({2: WHY}, "prune", "me")
    assert (done.removed, done.kept, done.left) == ({2: size}, {}, {})
    assert [path for path in stored(root) if second.run_id in path] == []
    assert len([path for path in stored(root) - before if path.endswith("model.pt2")]) == 2
    assert registry.versions() == (first, third)
    assert registry.find(second.learning_key) is None
    with pytest.raises(UsageError, match=r"version 2 was removed on \d{4}-\d\d-\d\d by prune"):
        registry.version(2)
    with pytest.raises(UsageError, match="there is no version 9"):
        registry.version(9)
    after = registry.client.call("get_run", second.run_id)
    assert (after.data.params, after.data.metrics) == (run.data.params, run.data.metrics)
    [event] = [event for event in registry.history() if event.action == "removed"]
    assert (event.version, event.experience, event.by) == (2, second.experience, "me")
    assert event.reason == f"by prune: {WHY}"
    assert registry.parents() == {1: None, 2: 1, 3: 2}, "the line of training is known"
    assert registry.download(third).exists()
    assert StateReader(registry.workspace).versions() == (1, 3)
    assert registry.remove({2: WHY}, "prune", "me").removed == {}

    # Its number is not given again, nor does its run count as one that was killed.
    again = register(registry, folder, learning_key=second.learning_key, parent=1)
    assert again.version == 4
    assert registry.client.call("get_run", second.run_id).info.status == "FINISHED"
    assert registry.remove({4: WHY}, "prune", "me").removed.keys() == {4}
    assert register(registry, folder, learning_key=second.learning_key, parent=1).version == 5


def test_a_copy_of_the_database_has_what_is_there(root: Path, folder: Path) -> None:
    """A backup looks for the files of every version that the database names."""
    registry = Registry(workspace(root, "copied"))
    grow(registry, folder, 3)
    registry.remove({1: WHY}, "prune", "me")
    call_log(registry, fatal=4)
    with pytest.raises(Killed):  # its files are gone, and MLflow has the version still
        registry.remove({2: WHY}, "prune", "me")
    copy = root / "backup" / copying.DATABASE
    assert copying.database(registry.workspace, copy)
    shutil.copytree(root / ".perdure" / "artifacts", copy.parent / copying.ARTIFACTS)
    assert len(copying.version_folders(copy, "copied")) == 1
    assert StateReader(registry.workspace).versions() == (3,)


def test_a_version_with_an_alias_stays(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(workspace(root, "aliased"))
    grow(registry, folder, 3)
    registry.client.call("set_registered_model_alias", "aliased", "audited", "2")
    done = registry.remove({2: WHY, 3: WHY}, "prune", "me")
    assert done.kept == {2: "it has the alias audited", 3: "it has the alias challenger, champion"}
    assert done.removed == {}

    # A person sets it between the mark and the files: the person wins.
    original = registry.client.call

    def call(name: str, *args: Any, **kwargs: Any) -> Any:
        result = original(name, *args, **kwargs)
        if name == "set_model_version_tag" and args[2] == codec.REMOVED:
            original("set_registered_model_alias", "aliased", "mine", args[1])
        return result

    monkeypatch.setattr(registry.client, "call", call)
    assert registry.remove({1: WHY}, "prune", "me").kept == {1: "it has the alias mine"}
    assert registry.removing() == ()
    first = registry.version(1)
    assert registry.download(first).exists()
    run = registry.client.call("get_run", first.run_id)
    assert not {codec.REMOVED, codec.NUMBER} & set(run.data.tags)
    assert registry.history() == ()


def test_killed_before_each_write_and_called_again(root: Path, folder: Path) -> None:
    registry = Registry(workspace(root, "killed"))
    grow(registry, folder, 1)
    first = register(registry, folder, learning_key="9" * 64, parent=1)
    registry.remove({first.version: WHY}, "prune", "me")  # makes the experiment of the history
    whole = register(registry, folder, learning_key="a" * 64, parent=1)
    counted = Registry(registry.workspace)
    names = call_log(counted)
    counted.remove({whole.version: WHY}, "prune", "me")
    assert {"delete_model_version", "delete_logged_model", "create_run"} < set(names)
    before = stored(root)
    for fatal in range(len(names)):
        one = register(registry, folder, learning_key=f"b{fatal:063d}", parent=1)
        dying = Registry(registry.workspace)
        call_log(dying, fatal)
        with pytest.raises(Killed):
            dying.remove({one.version: WHY}, "prune", "me")
        again = Registry(registry.workspace)
        unfinished = tuple(one.version for one in again.removing())
        assert unfinished == (() if fatal == 0 else (one.version,)), names[fatal]
        if unfinished:
            assert again.find(one.learning_key) is None
            with pytest.raises(UsageError, match="was removed"):
                again.version(one.version)
        again.remove({one.version: WHY}, "prune", "me")
        assert again.removing() == ()
        assert stored(root) - before == set()
        events = [e for e in again.history() if (e.action, e.version) == ("removed", one.version)]
        assert len(events) == 1
        assert again.recover() is None


def test_killed_while_files_go(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(workspace(root, "half"))
    grow(registry, folder, 2)

    def some(self: LocalArtifactRepository, path: str | None = None) -> None:
        next(Path(self.artifact_dir).rglob("model.pt2")).unlink()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(LocalArtifactRepository, "delete_artifacts", some)
        with pytest.raises(Killed):
            registry.remove({1: WHY}, "prune", "me")
    again = Registry(registry.workspace)
    assert [one.version for one in again.removing()] == [1]
    done = again.remove(dict.fromkeys([1], "another reason"), "prune", "you")
    assert done.removed.keys() == {1}
    [event] = [event for event in again.history() if event.action == "removed"]
    assert (event.reason, event.by) == (f"by prune: {WHY}", "me"), "as it was decided"


def test_a_store_that_refuses(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(workspace(root, "refusing"))
    grow(registry, folder, 3)

    def refuse(self: LocalArtifactRepository, path: str | None = None) -> None:
        raise PermissionError("no right to delete")

    with monkeypatch.context() as patch:
        patch.setattr(LocalArtifactRepository, "delete_artifacts", refuse)
        done = registry.remove({1: WHY, 2: WHY}, "prune", "me")
    assert done.removed == {}
    assert [*done.left] == [1, 2]
    assert "no right to delete" in done.left[1]
    assert [one.version for one in registry.removing()] == [1, 2]
    assert registry.remove({1: WHY, 2: WHY}, "prune", "me").removed.keys() == {1, 2}


def test_only_folders_that_mlflow_made_are_removed(root: Path, folder: Path) -> None:
    """What the registry names may have been written by somebody else."""
    registry = Registry(workspace(root, "named"))
    [first, _] = grow(registry, folder, 2)
    mine = root / "mine" / "artifacts"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("years of work")
    with sqlite3.connect(root / ".perdure" / "mlflow.db") as database:
        database.execute(
            "UPDATE logged_models SET artifact_location = ? WHERE source_run_id = ?",
            (mine.as_uri(), first.run_id),
        )
        database.execute(
            "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?",
            (f"{root.as_uri()}/{first.run_id}/artifacts/../../mine/artifacts", first.run_id),
        )
    assert registry.remove({1: WHY}, "prune", "me").removed.keys() == {1}
    assert (mine / "thesis.txt").exists()


def test_the_files_of_another_model(root: Path, folder: Path) -> None:
    """MLflow copies a version to another model without its files."""
    registry = Registry(workspace(root, "shared"))
    first, _ = grow(registry, folder, 2)
    assert registry.elsewhere(first) is None
    registry.client.fluent("copy_model_version", "models:/shared/1", "production")
    assert registry.elsewhere(first) == "version 1 of the model production"


def test_over_a_server(server: Server, tmp_path: Path, folder: Path) -> None:
    """Its files are in the server's store: `mlflow-artifacts:`."""
    registry = Registry(workspace(tmp_path / "workspace", "served", uri=server.uri))
    first, second = grow(registry, folder, 2)
    kept = registry.download(first)
    raw = registry.client.call("get_model_version", "served", "1")
    assert all(
        address.startswith("mlflow-artifacts:")
        for address in artifacts.addresses(registry.client, raw)
    )
    size = registry.size(1)
    assert size > (folder / "model.pt2").stat().st_size + 700
    done = registry.remove({1: WHY}, "prune", "me")
    assert done.removed == {1: size}
    assert len(list((tmp_path / "stored").rglob("model.pt2"))) == 1
    assert len(list((tmp_path / "stored").rglob("matrix.png"))) == 1
    assert not kept.exists()
    assert registry.download(second).exists()
    with pytest.raises(UsageError, match="version 1 was removed on"):
        registry.version(1)
    assert registry.versions() == (second,)
    assert registry.parents() == {1: None, 2: 1}
    assert registry.since(AT) == registry.history() != ()
    assert registry.since("2100-01-01T00:00:00+00:00") == ()
    assert isinstance(registry.history()[0], Event)
