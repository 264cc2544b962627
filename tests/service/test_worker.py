"""Workers: real ones, and what the processes of their flow runs get."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psutil
import pytest
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelling

from perdure import config
from perdure.config import Workspace
from perdure.errors import UsageError
from perdure.orchestration import names, pools, registry_identity
from perdure.service import gpus, worker
from perdure.service.deploy import deploy
from tests.promises import kit
from tests.service import probe as probing
from tests.service.conftest import MakeWorkspace, Server, elsewhere, end, until

RESOURCES = '[resources]\nnice = 7\nmemory = "900MB"'


@contextmanager
def working(
    server: Server,
    ws: Workspace,
    *options: str,
    before: str = "pass",
    preload: str = probing.PRELOAD,
    **environment: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """The program of a worker, as `perdure up` starts it, after a statement.

    Its forkserver imports `preload`: by default little, for the flow `probe` needs no torch.
    """
    inherited = {k: v for k, v in os.environ.items() if k != gpus.VISIBLE}
    before += f"; from perdure.service import forkserver, worker; forkserver.PRELOAD = {preload!r}"
    program = [sys.executable, "-P", "-c", f"{before}; worker.main()", "--of-up", *options]
    with (ws.root / "log").open("ab") as log:
        process = subprocess.Popen(
            program,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={
                **inherited,
                "PREFECT_API_URL": server.api,
                "PERDURE_WORKSPACE": str(ws.root),
                "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                **environment,
            },
        )
    try:
        yield process
    finally:
        end(process)
        if process.stdin is not None:
            process.stdin.close()


def probe(
    server: Server,
    ws: Workspace,
    pool: names.Pool = "cpu",
    tags: list[str] | None = None,
    registry: str | None = None,
) -> UUID:
    """Deploy the probe beside the workspace's own flows."""
    with server.client() as client:
        pools.ensure(client, pool)
        return client.create_deployment(
            flow_id=client.create_flow_from_name("probe"),
            name=f"{ws.config.model.name}{registry or ''}",
            work_pool_name=pool,
            work_queue_name=names.queue(
                ws.config.model.name, registry or registry_identity.shared(ws)
            ),
            entrypoint="tests.service.probe.probe",
            tags=tags or names.tags(ws.config.model.name),
        )


def start(server: Server, deployment: UUID, **parameters: Any) -> FlowRun:
    with server.client() as client:
        return client.create_flow_run_from_deployment(deployment, parameters=parameters)


def read(server: Server, run: FlowRun) -> FlowRun:
    with server.client() as client:
        return client.read_flow_run(run.id)


def ended(server: Server, run: FlowRun) -> Callable[[], bool]:
    def look() -> bool:
        state = read(server, run).state
        return state is not None and state.is_final()

    return look


def report(server: Server, run: FlowRun, ws: Workspace) -> str:
    """What Prefect and the worker's log say about a run, for a test that fails."""
    return f"{read(server, run).state!r}\n{(ws.root / 'log').read_text()}"


def written_by(ws: Workspace, name: str) -> dict[str, Any]:
    until((ws.root / name).exists)
    found: dict[str, Any] = json.loads((ws.root / name).read_text())
    return found


def warm(ws: Workspace, times: int = 1) -> None:
    """Wait until flow runs of its worker are forks."""
    until(lambda: (ws.root / "log").read_text().count("runs start as forks") == times, 180)


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def test_a_flow_run_gets_the_workspace_its_bounds_and_says_that_it_lives(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("bounds", RESOURCES)
    deployed = probe(configured, ws)
    with working(configured, ws, "--pool", "cpu"):
        small = start(configured, deployed, say="small")
        large = start(configured, deployed, say="large", megabytes=5000)
        result = written_by(ws, "small")
        until(ended(configured, small))
        until(ended(configured, large))
        # Here: a worker that ends may end a run before it knows that Prefect took its state.
        assert read(configured, small).state_name == "Completed"
        state = read(configured, large).state
    assert result["nice"] == 7
    assert 900 * 10**6 < result["memory"] < 4000 * 10**6  # beside what is imported
    environment = result["environment"]
    assert environment["PERDURE_WORKSPACE"] == str(ws.root)
    assert environment["PREFECT_RESULTS_DEFAULT_SERIALIZER"] == "json"
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert result["folder"] != str(ws.root)
    assert not Path(result["folder"]).exists()
    assert state is not None
    assert state.name == "Failed"
    assert "resources.memory = 0.9GB" in str(state.message)
    until(lambda: _heartbeats(configured, small) > 0)


def _heartbeats(server: Server, run: FlowRun) -> int:
    """As who ends zombies looks for them; with tags, for automations of the user's."""
    found = httpx.post(
        f"{server.api}/events/filter",
        json={
            "filter": {
                "event": {"name": ["prefect.flow-run.heartbeat"]},
                "any_resource": {"id": [f"prefect.flow-run.{run.id}"]},
            }
        },
    ).json()["events"]
    for one in found:
        tags = [r["prefect.resource.id"] for r in one["related"]]
        assert {f"prefect.tag.{tag}" for tag in run.tags} <= set(tags)
    return len(found)


@pytest.mark.parametrize("how", ["SIGTERM", "end of stdin", "SIGTERM, which a run ignores"])
def test_a_worker_that_ends_takes_all_that_it_started_with_it(
    configured: Server, make_workspace: MakeWorkspace, how: str
) -> None:
    ws = make_workspace(f"ends-{len(how)}")
    deployed = probe(configured, ws)
    with working(configured, ws, "--pool", "cpu") as process:
        run = start(configured, deployed, sleep=600, stubborn="ignores" in how)
        pid = written_by(ws, "said")["pid"]
        assert not gone(pid)
        everything = psutil.Process(process.pid).children(recursive=True)
        assert pid in {one.pid for one in everything}
        if how == "end of stdin":
            assert process.stdin is not None
            process.stdin.close()
        else:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0, (ws.root / "log").read_text()
        assert gone(pid)
        until(lambda: all(gone(one.pid) for one in everything))
    assert read(configured, run).state_name == "Crashed"


def test_a_killed_worker_leaves_nothing_behind(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("killed")
    deployed = probe(configured, ws)
    with working(configured, ws, "--pool", "cpu") as process:
        start(configured, deployed, sleep=600, stubborn=True)
        pid = written_by(ws, "said")["pid"]
        everything = psutil.Process(process.pid).children(recursive=True)
        assert pid in {one.pid for one in everything}
        process.kill()
        process.wait()
        until(lambda: all(gone(one.pid) for one in everything))


def test_a_flow_run_that_is_killed_has_crashed_and_the_worker_goes_on(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("crashes")
    deployed = probe(configured, ws)
    with working(configured, ws, "--pool", "cpu"):
        run = start(configured, deployed, say="first", sleep=600)
        os.kill(written_by(ws, "first")["pid"], signal.SIGKILL)
        until(ended(configured, run))
        assert read(configured, run).state_name == "Crashed"
        until(ended(configured, start(configured, deployed, say="second")))
        assert written_by(ws, "second")


def test_a_flow_run_can_be_cancelled(configured: Server, make_workspace: MakeWorkspace) -> None:
    ws = make_workspace("cancels")
    deployed = probe(configured, ws)
    with working(configured, ws, "--pool", "cpu"):
        run = start(configured, deployed, sleep=600)
        pid = written_by(ws, "said")["pid"]
        with configured.client() as client:
            client.set_flow_run_state(run.id, Cancelling())
        until(lambda: gone(pid))
        until(lambda: read(configured, run).state_name == "Cancelled")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks so")
def test_a_run_is_a_fork_of_one_process_that_is_started_again_where_it_died(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("warm")
    deployed = probe(configured, ws)
    with working(configured, ws, "--pool", "cpu"):
        warm(ws)
        until(ended(configured, start(configured, deployed, say="first")))
        first = written_by(ws, "first")
        forkserver = psutil.Process(first["parent"])
        # Else a fork would be unsafe; and CUDA cannot be used in a fork of who has used it.
        tasks = Path(f"/proc/{forkserver.pid}/task").iterdir()
        threads = sorted((one / "comm").read_text().strip() for one in tasks)
        assert [one for one in threads if one != "jemalloc_bg_thd"] == [forkserver.name()]
        assert not [one.path for one in forkserver.memory_maps() if "/dev/nvidia" in one.path]
        lost = start(configured, deployed, say="lost", sleep=600)
        pid = written_by(ws, "lost")["pid"]
        forkserver.kill()
        until(lambda: gone(pid))
        until(ended(configured, lost))
        assert read(configured, lost).state_name == "Crashed"
        warm(ws, times=2)
        until(ended(configured, start(configured, deployed, say="second")))
        second = written_by(ws, "second")
    assert first["preloaded"]
    assert second["preloaded"]
    assert second["parent"] != first["parent"]


def test_a_retraining_in_a_fork_is_that_of_a_new_process(
    configured: Server, tmp_path: Path
) -> None:
    (tmp_path / "cold").mkdir()
    (tmp_path / "warm").mkdir()
    cold = kit.make(tmp_path / "cold" / "small")
    root = kit.make(tmp_path / "warm" / "small")
    program = "import sys; from perdure.flows.retrain import retrain; retrain.fn(sys.argv[1])"
    subprocess.run([sys.executable, "-P", "-c", program, str(cold)], check=True)
    ws = config.read(root)
    deploy(ws, replace=True)
    with configured.client() as client:
        deployment = client.read_deployment_by_name(f"retrain/retrain-{kit.MODEL}").id
        client.pause_deployment(deployment)  # no schedule, and no other run
    with working(configured, ws, "--pool", "cpu", preload="perdure.service.preload"):
        warm(ws)
        run = start(configured, deployment)
        until(ended(configured, run), 120)
        assert read(configured, run).state_type == StateType.COMPLETED, report(configured, run, ws)
    first, second = kit.learners(root), kit.learners(cold)
    assert first[0]["cursor"]
    assert first == second


def test_a_rollback_does_not_wait_for_a_long_retraining(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("beside")
    deploy(ws)
    deployed = probe(configured, ws)
    with working(configured, ws, "--pool", "cpu"):
        long = start(configured, deployed, sleep=600)
        written_by(ws, "said")
        with configured.client() as client:
            rollback = client.read_deployment_by_name("rollback/rollback-beside").id
        asked = start(configured, rollback)
        until(ended(configured, asked))
        assert read(configured, long).state_type == StateType.RUNNING
    state = read(configured, asked).state
    assert state is not None
    assert "there is no champion to roll back" in str(state.message)


def test_a_server_that_is_away_ends_neither_worker_nor_run(
    tmp_path: Path, make_workspace: MakeWorkspace
) -> None:
    own = Server(tmp_path)
    own.start()
    try:
        ws = make_workspace("patient")
        deployed = probe(own, ws)
        soon = {"PREFECT_WORKER_QUERY_SECONDS": "0.1", "PREFECT_CLIENT_MAX_RETRIES": "0"}
        # Any outage is one after which Prefect no longer sees what is cancelled.
        long = "import logging; logging.basicConfig(level=logging.INFO)"
        long += "; from perdure.service import pool_worker; pool_worker.LONG_OUTAGE_S = 0"
        with working(own, ws, "--pool", "cpu", before=long, **soon) as process:
            run = start(own, deployed, say="long", sleep=600)
            pid = written_by(ws, "long")["pid"]
            own.kill()
            log = ws.root / "log"
            until(lambda: "Prefect does not answer" in log.read_text())
            time.sleep(8)  # Prefect's own worker gives up after 3 × (0.1 + 0.2 + 0.4 + 0.8) s
            assert process.poll() is None
            assert not gone(pid)
            own.start()
            start(own, deployed, say="after")
            written_by(ws, "after")
            assert not gone(pid)
            assert log.read_text().count(" started!") == 1
            with own.client() as client:
                client.set_flow_run_state(run.id, Cancelling())
            until(lambda: gone(pid))
            until(lambda: log.read_text().count(" started!") == 2)  # no runs: it starts again
            start(own, deployed, say="anew")
            written_by(ws, "anew")
            assert process.poll() is None
            # Of cancelled tasks and lost connections; a loop of Prefect's may log what it met.
            assert not re.search("CancelledError|Observer - .*\nTraceback", log.read_text())
    finally:
        own.stop()


def test_each_flow_run_has_a_gpu_of_its_own(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("gpus", '[resources]\npool = "gpu"')
    deployed = probe(configured, ws, "gpu")
    where = {gpus.LOCKS: uuid4().hex, gpus.VISIBLE: "GPU-1a,MIG-2b"}
    with working(configured, ws, "--pool", "gpu", **where) as process:
        for number in range(2):
            start(configured, deployed, say=f"run{number}", sleep=600)
        messages = [written_by(ws, f"run{number}") for number in range(2)]
        seen = sorted(one["environment"][gpus.VISIBLE] for one in messages)
        assert seen == ["GPU-1a", "MIG-2b"]
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        assert all(gone(one["pid"]) for one in messages)


@pytest.mark.skipif(sys.platform != "linux", reason="there is no CUDA here")
def test_a_gpu_that_others_have_is_waited_for(
    configured: Server, make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = make_workspace("patiently", '[resources]\npool = "gpu"')
    deployed = probe(configured, ws, "gpu")
    scope, log = uuid4().hex, ws.root / "log"
    monkeypatch.setenv(gpus.LOCKS, scope)
    where = {gpus.LOCKS: scope, gpus.VISIBLE: "GPU-1a"}
    others = gpus.hold("GPU-1a", 2)
    with others, working(configured, ws, "--pool", "gpu", **where):
        until(lambda: "Waiting here: GPU GPU-1a is taken" in log.read_text())
        run = start(configured, deployed, say="late")
        time.sleep(4)  # it looks every second
        assert read(configured, run).state_type == StateType.SCHEDULED
        others.__exit__(None, None, None)
        until(ended(configured, run))
    assert "No longer waiting: GPU GPU-1a is taken" in log.read_text()


def test_a_machine_without_gpus_waits_where_perdure_up_runs_and_is_wrong_use_by_hand(
    configured: Server, make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = make_workspace("none", '[resources]\npool = "gpu"')
    log = ws.root / "log"
    with working(configured, ws, "--pool", "gpu", **{gpus.VISIBLE: ""}) as process:
        until(lambda: "Waiting here: no GPU is visible on this machine" in log.read_text())
        assert "for a worker elsewhere" in log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    monkeypatch.setenv(gpus.VISIBLE, "")
    with pytest.raises(UsageError, match="no GPU"):
        worker.work(str(ws.root), "gpu", None, None)


def test_runs_of_a_pool_of_another_type_are_left_to_its_own_workers(
    tmp_path: Path, make_workspace: MakeWorkspace
) -> None:
    own = Server(tmp_path)
    own.start()
    try:
        ws, log = make_workspace("containers"), tmp_path / "containers" / "log"
        with own.client() as client:
            client.create_work_pool(WorkPoolCreate(name="cpu", type="docker"))
        run = start(own, probe(own, ws), say="stolen")
        with working(own, ws, "--pool", "cpu") as process:
            until(lambda: "Waiting here: the work pool cpu is of type docker" in log.read_text())
            assert process.poll() is None
        with own.client() as client:
            assert client.read_workers_for_work_pool("cpu") == []
            client.delete_work_pool("cpu")
        # And where it is made again, of another type, while a worker takes runs from it.
        often = {"PREFECT_WORKER_HEARTBEAT_SECONDS": "1"}
        with working(own, ws, "--pool", "cpu", **often):
            until(lambda: " started!" in log.read_text())
            with own.client() as client:
                client.delete_work_pool("cpu")
                client.create_work_pool(WorkPoolCreate(name="cpu", type="docker"))
            until(lambda: "Worker type mismatch!" in log.read_text())
            run = start(own, probe(own, ws), say="stolen")
            time.sleep(4)  # it looks every second
        assert not (ws.root / "stolen").exists()
        assert read(own, run).state_type == StateType.SCHEDULED
    finally:
        own.stop()


def test_a_run_of_another_model_is_refused_where_it_begins(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    """As where two models share a pool of containers that all clone one of them."""
    ws = make_workspace("mine")
    deployed = probe(configured, ws, tags=names.tags("yours"))
    with working(configured, ws, "--pool", "cpu"):
        run = start(configured, deployed)
        until(ended(configured, run))
    state = read(configured, run).state
    assert state is not None
    assert state.type == StateType.FAILED
    assert "this run is for the model yours" in (state.message or "")
    assert not (ws.root / "said").exists()


def test_a_run_of_another_registry_is_left_to_its_own_worker(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    """As of staging and production, which share a Prefect server."""
    ws = make_workspace("twofold", '[tracking]\nuri = "http://127.0.0.1:9"')
    other = make_workspace("other", '[tracking]\nuri = "http://127.0.0.1:10"')
    theirs = start(configured, probe(configured, ws, registry=registry_identity.shared(other)))
    with working(configured, ws, "--pool", "cpu"):
        ours = start(configured, probe(configured, ws), say="ours")
        until(ended(configured, ours))
    assert (ws.root / "ours").exists()
    assert not (ws.root / "said").exists()
    assert read(configured, theirs).state_type == StateType.SCHEDULED


def test_a_run_of_another_registry_in_the_same_queue_is_refused_where_it_begins(
    configured: Server, make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    """As of two clones whose registries are files of their own, which are seldom shared."""
    ws = make_workspace("alike")
    other = registry_identity.named(elsewhere(ws, tmp_path / "other"))
    deployed = probe(configured, ws, tags=[*names.tags("alike"), names.registry_tag(other)])
    with working(configured, ws, "--pool", "cpu"):
        run = start(configured, deployed)
        until(ended(configured, run))
    state = read(configured, run).state
    assert state is not None
    assert state.type == StateType.FAILED
    assert "this run is for another registry" in (state.message or "")
    assert not (ws.root / "said").exists()
