"""Versions: registered once, whole, readable on MLflow's pages, and checked on the way back."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perdure.errors import Corrupt, Unreachable, UsageError
from perdure.records import Change, DataRevision, Event, Reason, Registered, Score, Verdict, to_json
from perdure.tasks import figures
from perdure.tasks.registry import Registry, codec, pyfunc, quick
from perdure.tasks.registry.life import LIFE
from tests.tasks.version_kit import (
    AT,
    EXPERIENCE,
    LINEAGE,
    TRAINED,
    evaluation,
    register,
    version_folder,
    workspace,
)

YES = Verdict(
    "passed", (Reason("floor", "passed", "accuracy", 0.9, 0.5, None, "0.9 is at least 0.5"),)
)


class Killed(BaseException):
    """Like SIGKILL, nothing catches it."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("versions")


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return version_folder(root / "version")


@pytest.fixture
def registry(root: Path, request: pytest.FixtureRequest) -> Registry:
    return Registry(workspace(root, request.node.name.translate(str.maketrans("[]/.", "    "))))


def test_a_version_says_all_that_it_was_registered_with(registry: Registry, folder: Path) -> None:
    cursor = tuple(f"{number:06d}-{number:08x}" for number in range(1000))
    version = register(
        registry,
        folder,
        cursor=cursor,
        parent=7,
        code="e" * 40,
        verdict=YES,
        data=DataRevision(None, "f" * 32),
    )
    assert version == registry.version(1) == registry.find("a" * 64)
    assert registry.versions() == (version,)
    assert version.cursor == cursor
    assert (version.parent, version.code, version.data) == (
        7,
        "e" * 40,
        DataRevision(None, "f" * 32),
    )
    assert (version.verdict, version.reasons, version.replaced) == ("passed", (), None)
    assert version.strategy == ("ewc", "replay")
    assert version.experience == EXPERIENCE


def test_the_same_learning_key_twice_is_one_version(registry: Registry, folder: Path) -> None:
    first = register(registry, folder)
    assert register(registry, folder, experience="000002-bbbbbbbb") == first
    assert register(registry, folder, learning_key="2" * 64).version == 2
    assert [version.learning_key[0] for version in registry.versions()] == ["a", "2"]


def test_what_is_not_there(registry: Registry, folder: Path) -> None:
    assert registry.read() == Registered(None, None, None, None)
    assert registry.versions() == ()
    assert registry.find("a" * 64) is None
    with pytest.raises(UsageError, match="there is no version 3"):
        registry.version(3)
    register(registry, folder)
    with pytest.raises(UsageError, match="there is no version 3") as result:
        registry.version(3)
    assert result.value.hint == "perdure history lists the versions"


def test_reading_makes_nothing(tmp_path: Path) -> None:
    assert Registry(workspace(tmp_path)).read() == Registered(None, None, None, None)
    assert list(tmp_path.iterdir()) == []


def runs(registry: Registry, life: bool = False) -> list[Any]:
    """The runs of learning steps; or that of the model's life."""
    experiment = registry.client.call("get_experiment_by_name", registry.name)
    found = experiment and registry.client.call("search_runs", [experiment.experiment_id])
    return [run for run in found or () if (LIFE in run.data.tags) == life]


def test_killed_anywhere_a_version_is_registered_once(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 3, for registering."""
    orphans = 0
    number = 0
    while True:
        registry = Registry(workspace(root, f"killed {number}"))
        original, calls, killed = registry.client.call, 0, False

        def call(name: str, *args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            if calls == number:  # noqa: B023 (used within the turn)
                raise Killed(name)
            calls += 1
            return original(name, *args, **kwargs)  # noqa: B023

        monkeypatch.setattr(registry.client, "call", call)
        try:
            register(registry, folder)
        except Killed:
            killed = True
        again = Registry(registry.workspace)
        version = register(again, folder)
        assert again.versions() == (version,)
        assert version.version == 1
        # Whatever was begun has an end, and one run alone made the version.
        found = runs(again)
        assert {run.info.run_id for run in found if run.info.status == "FINISHED"} == {
            version.run_id
        }
        assert all(run.info.status in {"FINISHED", "KILLED"} for run in found)
        orphans += len(found) - 1
        if not killed:
            break
        number += 1
    assert number > 8
    assert orphans > 3, "hardly any cut left a run behind"


def test_killed_while_the_model_is_logged(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(pyfunc, "log", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            register(registry, folder)
    version = register(registry, folder)
    assert sorted(run.info.status for run in runs(registry)) == ["FINISHED", "KILLED"]
    assert registry.versions() == (version,)


def test_the_run_reads_well(registry: Registry, folder: Path, tmp_path: Path) -> None:
    pictures = {
        "matrix": figures.matrix(evaluation().matrix, tmp_path / "matrix.png"),
        "training": figures.curves(TRAINED, tmp_path / "training.png"),
    }
    version = register(registry, folder, figures=pictures, verdict=YES)
    run = registry.client.call("get_run", version.run_id)
    assert run.info.run_name == f"learn {EXPERIENCE}"
    assert run.data.params["strategy"] == "replay"
    assert run.data.params["epochs"] == "2"  # those of the curve
    assert run.data.params["rows_trained"] == "100"
    history = registry.client.call("get_metric_history", version.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.5), (2, 0.4)]
    expected = {
        "validation/loss": 0.6,
        "test/accuracy/new": 0.9,
        "test/accuracy/past": 0.8,
        "test/accuracy/average": 0.9,
        "champion/accuracy/average": 0.7,
        "prequential/accuracy": 0.6,
        "baseline/accuracy": 0.5,
        "forgetting": 0.05,
        "backward_transfer": -0.05,
    }
    assert {name: run.data.metrics[name] for name in expected} == expected
    once = {name: value for name, value in expected.items() if name != "validation/loss"}
    [made] = run.outputs.model_outputs
    logged_model = registry.client.call("get_logged_model", made.model_id)
    of_the_model = {metric.key: metric.value for metric in logged_model.metrics}
    assert {name: of_the_model[name] for name in once} == once
    assert "train/loss" not in of_the_model, "a curve is the run's alone"
    assert logged_model.params == run.data.params
    logged = {
        item.path for item in registry.client.call("list_artifacts", version.run_id, "figures")
    }
    assert logged == {"figures/matrix.png", "figures/training.png"}
    description = registry.client.call("get_model_version", registry.name, "1").description
    assert "**Verdict: passed**" in description
    assert "| floor | passed | 0.9000 accuracy | – | – | 0.5000 | – | – |" in description
    model = registry.client.call("get_registered_model", registry.name)
    assert "champion" in model.description


def test_one_run_has_a_point_for_each_experience_that_was_learned(
    registry: Registry, folder: Path
) -> None:
    register(registry, folder)
    register(registry, folder, learning_key="e" * 64, experience="000007-bbbbbbbb")
    experiment = registry.client.call("get_experiment_by_name", registry.name)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    [life] = runs(registry, life=True)
    assert life.info.run_name == f"life of {registry.name}"
    assert life.info.status == "FINISHED"
    points = registry.client.call("get_metric_history", life.info.run_id, "test/accuracy")
    assert sorted((one.step, one.value) for one in points) == [(1, 0.9), (7, 0.9)]
    assert life.data.metrics["forgetting"] == 0.05


def test_a_cursor_is_short_text_and_an_older_list_is_read(registry: Registry, folder: Path) -> None:
    long = tuple(f"{number:06d}-{number:08x}" for number in (*range(1, 1500), 2000, 2001, 7))
    version = register(registry, folder, cursor=long)
    assert version.cursor == long
    tags = registry.client.call("get_model_version", registry.name, "1").tags
    whole = codec.join(codec.PREFIX + "cursor", tags)
    assert whole is not None
    assert len(whole) < 9.1 * len(long)
    old = codec.split(codec.PREFIX + "cursor", codec.dumps(list(long)))
    assert codec.version(1, "", 0, {**tags, **old}).cursor == long
    for wrong in ("#1-xyz", "#1-aaaaaaaa;", "#1-aaaaaaaa,", "aaaaaaaa"):
        with pytest.raises(Corrupt):
            codec.version(1, "", 0, {**tags, codec.PREFIX + "cursor": wrong})


def test_a_version_comes_back_as_it_was(registry: Registry, folder: Path) -> None:
    version = register(registry, folder)
    there = registry.download(version)
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert len(names) == 6
    assert all((there / name).read_bytes() == (folder / name).read_bytes() for name in names)
    assert registry.workspace.state in there.parents, "local artifacts need no copy"
    assert registry.evaluation(version) == to_json(evaluation())


@pytest.mark.parametrize("name", ["learner/learner.json", "evaluation/evaluation.json"])
def test_a_changed_version_is_not_loaded(registry: Registry, folder: Path, name: str) -> None:
    version = register(registry, folder)
    (registry.download(version) / name).write_text("{} ")
    with pytest.raises(Corrupt, match=f"{name} was changed"):
        registry.download(version)
    if name.startswith("evaluation"):
        with pytest.raises(Corrupt, match="not what its manifest says"):
            registry.evaluation(version)


def test_artifacts_that_are_gone(registry: Registry, folder: Path) -> None:
    version = register(registry, folder)
    shutil.rmtree(registry.download(version))
    with pytest.raises(Corrupt, match="has 0 version folders"):
        registry.download(version)


def test_a_spoilt_folder_is_not_registered(
    registry: Registry, folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "model.pt2").unlink()
    with pytest.raises(Corrupt, match=r"model\.pt2 is missing"):
        register(registry, copy)
    assert registry.versions() == ()


def test_a_version_of_somebody_else(registry: Registry, folder: Path) -> None:
    version = register(registry, folder)
    registry.client.call("create_model_version", registry.name, "file:///nowhere")
    assert registry.versions() == (version,)
    with pytest.raises(Corrupt, match="version 2 in the registry lacks"):
        registry.version(2)


def test_an_experiment_that_was_deleted_comes_back(registry: Registry, folder: Path) -> None:
    register(registry, folder)
    experiment = registry.client.call("get_experiment_by_name", registry.name).experiment_id
    registry.client.call("delete_experiment", experiment)
    assert register(Registry(registry.workspace), folder, learning_key="2" * 64).version == 2


def test_the_process_is_left_as_it_was(
    registry: Registry,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////somewhere/else.db")
    register(registry, folder)
    assert mlflow.get_tracking_uri() == "sqlite:////somewhere/else.db"
    assert mlflow.active_run() is None
    assert capfd.readouterr() == ("", "")


def test_the_first_use_is_quiet(tmp_path: Path) -> None:
    """MLflow's migrations tell a long story, which nobody asked for."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from tests.tasks.version_kit import workspace
from perdure.tasks.registry import Registry
registry = Registry(workspace(Path({str(tmp_path)!r})))
assert registry.versions() == ()
assert registry.history() == ()
assert not Path({str(tmp_path)!r}, ".perdure").exists(), "who looks makes nothing"
registry.client.call("search_registered_models")
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / ".perdure" / "mlflow.db").exists()


def test_the_file_says_what_mlflow_says(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(registry, folder, verdict=YES)
    register(registry, folder, learning_key="e" * 64)
    registry.apply(Change("first", {}, {"champion": 1}, events=(Event(AT, "promoted", version=1),)))

    def asked() -> list[Any]:
        again = Registry(registry.workspace)
        versions = again.versions()
        found = [again.find(one.learning_key) for one in versions]
        return [
            versions, found, again.version(2), again.verdict(1), again.history(),
            again.parents(), [again.download(one) for one in versions],
        ]  # fmt: skip

    from_the_file = asked()
    with monkeypatch.context() as patched:
        patched.setattr(quick, "REVISIONS", frozenset())  # a database that it does not know
        assert asked() == from_the_file


def test_a_quick_look_imports_no_mlflow(root: Path, folder: Path) -> None:
    register(Registry(workspace(root, "quick")), folder)
    script = f"""
import sys
from pathlib import Path
from perdure.config import Workspace, parse
from perdure.tasks.registry import Registry
text = '[model]\\nname = "quick"\\n[data]\\ntarget = "kind"\\ntask = "classification"\\n'
registry = Registry(Workspace(Path({str(root)!r}), parse(text)))
registry.read()
heavy = {{"mlflow", "torch", "pandas", "sqlalchemy", "numpy"}} & set(sys.modules)
assert not heavy, heavy
assert registry.history() == ()
(version,) = registry.versions()
assert registry.find(version.learning_key) == version == registry.version(1)
assert registry.evaluation(version)["metric"] == "accuracy"
heavy = {{"mlflow", "torch", "pandas", "sqlalchemy"}} & set(sys.modules)
assert not heavy, heavy
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:{port}", "postgresql+psycopg2://me:secret@127.0.0.1:{port}/mlflow"]
)
def test_nobody_there(tmp_path: Path, uri: str) -> None:
    from tests.tasks.version_kit import free_port

    registry = Registry(workspace(tmp_path, uri=uri.format(port=free_port())))
    for ask in (registry.read, registry.versions, registry.recover, registry.history):
        with pytest.raises(Unreachable, match="does not answer") as result:
            ask()
        assert result.value.exit_code == 5
        assert "secret" not in str(result.value)


def test_a_database_that_cannot_be_opened(tmp_path: Path) -> None:
    registry = Registry(workspace(tmp_path))
    (tmp_path / ".perdure" / "mlflow.db").mkdir(parents=True)
    with pytest.raises(Unreachable, match="unable to open database file"):
        registry.read()


def test_a_relative_database_belongs_to_the_workspace(tmp_path: Path) -> None:
    registry = Registry(workspace(tmp_path, uri="sqlite:///tracking/mlflow.db"))
    registry.client.call("search_registered_models")
    assert (tmp_path / "tracking" / "mlflow.db").exists()
    assert registry.versions() == ()
    assert logging.getLogger("alembic").level == logging.WARNING


@pytest.mark.parametrize(
    ("value", "wanted"), [(0.9, 0.9), (float("nan"), None), (float("inf"), None)]
)
def test_a_score_comes_back_as_it_was(value: float, wanted: float | None) -> None:
    found = evaluation()
    measured = dataclasses.replace(found.candidate, average={"accuracy": value})
    score = codec.score(dataclasses.replace(found, candidate=measured))
    assert score == Score("accuracy", wanted, 0.5, 60)
    tags = codec.version_tags(LINEAGE, score)
    assert codec.version(1, "run", 0, tags).score == score
    json.loads(tags[codec.SCORE], parse_constant=pytest.fail)
    # An older Perdure wrote none, and a later one may add to it.
    older = {name: text for name, text in tags.items() if name != codec.SCORE}
    assert codec.version(1, "run", 0, older).score is None
    later = {**tags, codec.SCORE: json.dumps({**json.loads(tags[codec.SCORE]), "more": 1})}
    assert codec.version(1, "run", 0, later).score == score
