"""Two machines that work on one model: two clones, each with a worker, and remotes that they share.

What they share is git's and DVC's remote, an MLflow server and a Prefect server, and no folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from mlflow import MlflowClient
from prefect.client.schemas.objects import StateType

from perdure.orchestration import names, run_lock
from perdure.service.deploy import deploy
from tests.promises import kit
from tests.service.clones import Clones, files_of, numbers, only_grows
from tests.service.conftest import Server, end, until
from tests.tasks.server_kit import Server as MlflowServer

PATIENCE_S = 180.0


@pytest.fixture
def mlflow(tmp_path: Path) -> Iterator[MlflowServer]:
    """Started, and not yet waited for."""
    (tmp_path / "mlflow").mkdir()
    server = MlflowServer(tmp_path / "mlflow")
    try:
        yield server
    finally:
        server.stop()


def shared(folder: Path, uri: str) -> Clones:
    """Two clones whose model has a name that no other test uses."""
    both = Clones(folder, uri=uri)
    file = both.root("a") / "perdure.toml"
    text = file.read_text()
    text = text.replace('name = "small"', f'name = "two-{uuid4().hex[:8]}"', 1)
    file.write_text(f"{text}\n[trigger]\ndebounce = 0\n")
    kit.git(both.root("a"), "commit", "--quiet", "--all", "-m", "test: a name of its own")
    kit.git(both.root("a"), "push", "--quiet")
    kit.git(both.root("b"), "pull", "--quiet")
    return both


@contextmanager
def working(server: Server, root: Path) -> Iterator[None]:
    """`perdure worker`, as on a machine without `perdure up`."""
    program = [sys.executable, "-P", "-m", "perdure", "worker", "--pool", "cpu"]
    path = os.pathsep.join(one for one in sys.path if one)
    with (root.parent / f"{root.name}.log").open("ab") as log:
        process = subprocess.Popen(
            [*program, "--workspace", str(root)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={**os.environ, "PREFECT_API_URL": server.api, "PYTHONPATH": path},
        )
    try:
        yield
    finally:
        end(process)


def retrained(server: Server, deployment: UUID) -> str:
    """Have a worker retrain, whichever takes the run; the run's id."""
    with server.client() as client:
        run = client.create_flow_run_from_deployment(deployment).id

        def ended() -> bool:
            state = client.read_flow_run(run).state
            return state is not None and state.is_final()

        until(ended, PATIENCE_S)
        found = client.read_flow_run(run).state
    assert found is not None
    assert found.type == StateType.COMPLETED, found.message
    return str(run)


def learned(both: Clones, name: str) -> list[str]:
    """Where the champion's experiences came from, in the order in which it learned them."""
    ids = sorted(path.stem for path in both.ws(name).experiences.glob("*.parquet"))
    sources = dict(zip(ids, both.sources(name), strict=True))
    return [sources[id_] for id_ in kit.registry(both.root(name)).read().champion.cursor]


def test_two_workers_on_two_clones_are_one_workspace(
    configured: Server, mlflow: MlflowServer, tmp_path: Path
) -> None:
    both = shared(tmp_path / "shared", mlflow.uri)
    model = both.ws("a").config.model.name
    deploy(both.ws("a"))
    with configured.client() as client:
        # What an event starts is tested elsewhere: here each run is counted.
        (automation,) = client.read_automations_by_name(names.data_arrived(model))
        client.delete_automation(automation.id)
        deployment = client.read_deployment_by_name(names.full("retrain", model)).id
    a, b = both.root("a"), both.root("b")
    mlflow.wait()

    both.arrive("a", 2)
    with working(configured, a):
        run = retrained(configured, deployment)
    assert run_lock.known(a, run)
    assert learned(both, "a") == ["a-first.csv", "2.csv"]

    both.arrive("b", 2, 3)
    hidden = a.rename(tmp_path / "switched-off")
    with working(configured, b):
        run = retrained(configured, deployment)
        assert run_lock.known(b, run)
        assert learned(both, "b") == ["a-first.csv", "2.csv", "3.csv"]
        hidden.rename(a)

        outcomes = {one.file: one.outcome for one in both.ingest("a", 4).files}
        assert outcomes == {"4.csv": "ingested"}
        outcomes = {one.file: one.outcome for one in both.ingest("b", 4, 5).files}
        assert outcomes == {"4.csv": "known", "5.csv": "ingested"}
        with working(configured, a):
            run = retrained(configured, deployment)
    assert run_lock.known(a, run) != run_lock.known(b, run)

    # Each clone sees all of it, once somebody asks it to look.
    for name in ("a", "b"):
        assert both.ingest(name).files == ()
        assert both.left(name) == []
        assert both.sources(name) == ["a-first.csv", "2.csv", "3.csv", "4.csv", "5.csv"]
        assert learned(both, name) == both.sources(name)
    assert files_of(both.ws("a")) == files_of(both.ws("b"))
    assert both.head("a") == both.head("b")
    assert kit.learners(a) == kit.learners(b)
    history = both.published()
    assert only_grows(history)
    assert numbers(history[-1]) == [1, 2, 3, 4, 5]
    versions = MlflowClient(mlflow.uri).search_model_versions(f"name = '{model}'")
    steps = Counter(one.tags["perdure.experience"] for one in versions)
    assert sorted(steps) == sorted(path.stem for path in both.ws("a").experiences.iterdir())
    assert set(steps.values()) == {1}
