"""Workers: real ones, and what the processes of their flow runs get."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect._internal import observers
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Scheduled
from prefect.utilities import services

from perdure.config import Workspace
from perdure.errors import UsageError
from perdure.flows.service import belonging, gpus, names, pools, process_worker, workers
from perdure.flows.service.deployments import deploy
from tests.flows.service.conftest import MakeWorkspace, Server, elsewhere, end, until

RESOURCES = '[resources]\nnice = 7\nmemory = "900MB"'


@contextmanager
def working(
    server: Server, ws: Workspace, *options: str, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The program of a worker, as `perdure up` starts it."""
    inherited = {k: v for k, v in os.environ.items() if k != gpus.VISIBLE}
    program = [sys.executable, "-P", "-m", "perdure.flows.service.worker", *options]
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
    limit: int | None = None,
    tags: list[str] | None = None,
) -> UUID:
    """Deploy the probe beside the workspace's own flows."""
    with server.client() as client:
        pools.ensure(client, pool)
        return client.create_deployment(
            flow_id=client.create_flow_from_name("probe"),
            name=ws.config.model.name,
            work_pool_name=pool,
            work_queue_name=names.queue(ws.config.model.name),
            entrypoint="tests.flows.service.probe.probe",
            concurrency_limit=limit,
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


def said(ws: Workspace, name: str) -> dict[str, Any]:
    until((ws.root / name).exists)
    told: dict[str, Any] = json.loads((ws.root / name).read_text())
    return told


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
    deployed = probe(configured, ws, limit=1)  # as retrain has
    with working(configured, ws, "--pool", "cpu"):
        small = start(configured, deployed, say="small")
        large = start(configured, deployed, say="large", megabytes=5000)
        told = said(ws, "small")
        until(ended(configured, small))
        until(ended(configured, large))
    assert told["nice"] == 7
    assert told["memory"] == 900 * 10**6
    environment = told["environment"]
    assert environment["PERDURE_WORKSPACE"] == str(ws.root)
    assert environment["PREFECT_RESULTS_DEFAULT_SERIALIZER"] == "json"
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert read(configured, small).state_name == "Completed"
    with configured.client() as client:
        taken = [one for one in client.read_flow_run_states(small.id) if one.is_pending()]
    # Else the server has it wait for the time it was scheduled for, also if the clock is set back.
    assert {one.state_details.scheduled_time for one in taken} == {process_worker.LONG_AGO}
    # Taken once; "Submitting" is what Prefect's worker calls it after that.
    assert sorted(one.name or "" for one in taken) == ["Pending", "Submitting"]
    state = read(configured, large).state
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
def test_a_worker_that_ends_takes_its_flow_runs_with_it(
    configured: Server, make_workspace: MakeWorkspace, how: str
) -> None:
    ws = make_workspace(f"ends-{len(how)}")
    deployed = probe(configured, ws)
    with working(configured, ws, "--pool", "cpu") as process:
        run = start(configured, deployed, sleep=600, stubborn="ignores" in how)
        pid = said(ws, "said")["pid"]
        assert not gone(pid)
        if how == "end of stdin":
            assert process.stdin is not None
            process.stdin.close()
        else:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0, (ws.root / "log").read_text()
        assert gone(pid)
    assert read(configured, run).state_name == "Crashed"


def test_a_killed_worker_leaves_no_flow_run_behind(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("killed")
    deployed = probe(configured, ws, limit=1)
    with working(configured, ws, "--pool", "cpu") as process:
        start(configured, deployed, sleep=600)
        pid = said(ws, "said")["pid"]
        # Its slot, which nobody gives back, is free in a minute; with Prefect's engine in five.
        assert 0 < _longest_lease_s(configured) < 61
        process.kill()
        process.wait()
        until(lambda: gone(pid))


def _longest_lease_s(server: Server) -> float:
    told = json.loads((server.folder / "leases" / "expirations.json").read_text())
    return max(
        (datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds() for at in told.values()
    )


def test_a_crash_of_our_flows_does_not_make_the_worker_import_them(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    """Prefect's worker does, for hooks, which they have none of; and somebody else's may have."""
    ws = make_workspace("hooks")
    deploy(ws)
    with configured.client() as client:
        ours = client.read_deployment_by_name("retrain/hooks").id
    runs = [start(configured, one).id for one in (ours, probe(configured, ws))]
    program = """
import asyncio, sys
from uuid import UUID, uuid4
import perdure.flows.service.process_worker
from prefect.client.orchestration import get_client
from prefect.workers.process import load_flow_from_flow_run

async def load(id):
    async with get_client() as client:
        flow = await load_flow_from_flow_run(await client.read_flow_run(UUID(id)))
    print(flow.name, flow.on_crashed_hooks, flow.on_cancellation_hooks)

for one in sys.argv[1:]:
    asyncio.run(load(one))
print("perdure.flows.retrain" in sys.modules)
"""
    told = subprocess.run(
        [sys.executable, "-c", program, *map(str, runs)],
        env={
            **os.environ,
            "PREFECT_API_URL": configured.api,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == ["hooks [] []", "probe [] []", "False"]


def test_a_rollback_does_not_wait_for_a_long_retraining(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("beside")
    deploy(ws)
    deployed = probe(configured, ws)
    with working(configured, ws, "--pool", "cpu"):
        long = start(configured, deployed, sleep=600)
        said(ws, "said")
        with configured.client() as client:
            rollback = client.read_deployment_by_name("rollback/beside").id
        asked = start(configured, rollback)
        until(ended(configured, asked))
        assert read(configured, long).state_type == StateType.RUNNING
    state = read(configured, asked).state
    assert state is not None
    assert "there is no champion to roll back" in str(state.message)


def test_of_what_a_schedule_missed_one_is_run(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("missed")
    deployed = probe(configured, ws)
    runs = []
    for hours in (3, 2, 1):
        due: State[Any] = Scheduled(scheduled_time=datetime.now(UTC) - timedelta(hours=hours))
        with configured.client() as client:
            run = client.create_flow_run_from_deployment(deployed, state=due)
        runs.append(run)
    _as_the_scheduler_does(configured, runs)
    asked = start(configured, deployed)
    with working(configured, ws, "--pool", "cpu"):
        for run in (*runs, asked):
            until(ended(configured, run))
    names_ = [read(configured, run).state_name for run in (*runs, asked)]
    assert names_ == ["Cancelled", "Cancelled", "Completed", "Completed"]


def _as_the_scheduler_does(server: Server, runs: list[FlowRun]) -> None:
    with closing(sqlite3.connect(server.folder / "prefect.db", timeout=30)) as database, database:
        for run in runs:
            change = "UPDATE flow_run SET auto_scheduled = 1 WHERE id = ?"
            assert database.execute(change, (str(run.id),)).rowcount == 1


def test_a_server_that_is_away_ends_neither_worker_nor_run(
    tmp_path: Path, make_workspace: MakeWorkspace
) -> None:
    own = Server(tmp_path)
    own.start()
    try:
        ws = make_workspace("patient")
        deployed = probe(own, ws)
        soon = {"PREFECT_WORKER_QUERY_SECONDS": "0.1", "PREFECT_CLIENT_MAX_RETRIES": "0"}
        with working(own, ws, "--pool", "cpu", **soon) as process:
            start(own, deployed, say="long", sleep=600)
            pid = said(ws, "long")["pid"]
            own.kill()
            log = ws.root / "log"
            until(lambda: "Prefect does not answer" in log.read_text())
            time.sleep(8)  # Prefect's own worker gives up after 3 × (0.1 + 0.2 + 0.4 + 0.8) s
            assert process.poll() is None
            assert not gone(pid)
            own.start()
            start(own, deployed, say="after")
            said(ws, "after")
            assert not gone(pid)
    finally:
        own.stop()


def test_a_run_can_be_cancelled_after_prefect_was_away() -> None:
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1
        raise httpx.ConnectError("nobody answers")

    async def look() -> None:
        polling = asyncio.ensure_future(loop(ask, interval=0.001))
        while asked < 30:
            await asyncio.sleep(0.01)
            assert not polling.done()
        polling.cancel()

    loop = vars(observers)["critical_service_loop"]
    assert loop is process_worker.poll_on
    asyncio.run(look())
    with pytest.raises(RuntimeError):  # and Prefect's own gives up
        asyncio.run(services.critical_service_loop(ask, interval=0.001, printer=lambda *_: None))


def test_each_worker_has_a_gpu_of_its_own(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("gpus", '[resources]\npool = "gpu"')
    deployed = probe(configured, ws, "gpu")
    where = {gpus.LOCKS: uuid4().hex, gpus.VISIBLE: "GPU-1a,MIG-2b"}
    with working(configured, ws, "--pool", "gpu", **where) as process:
        for number in range(2):
            start(configured, deployed, say=f"run{number}", sleep=600)
        told = [said(ws, f"run{number}") for number in range(2)]
        seen = sorted(one["environment"][gpus.VISIBLE] for one in told)
        assert seen == ["GPU-1a", "MIG-2b"]
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        assert all(gone(one["pid"]) for one in told)


@pytest.mark.skipif(sys.platform != "linux", reason="there is no CUDA here")
def test_a_gpu_that_others_have_is_waited_for(
    configured: Server, make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = make_workspace("patiently", '[resources]\npool = "gpu"')
    run = start(configured, probe(configured, ws, "gpu"), say="late")
    scope, log = uuid4().hex, ws.root / "log"
    monkeypatch.setenv(gpus.LOCKS, scope)
    where = {gpus.LOCKS: scope, gpus.VISIBLE: "GPU-1a"}
    others = gpus.hold("GPU-1a", 2)
    with others, working(configured, ws, "--pool", "gpu", **where) as process:
        until(lambda: "Waiting here: GPU GPU-1a is taken" in log.read_text())
        assert " started!" not in log.read_text()
        assert process.poll() is None
        others.__exit__(None, None, None)
        until(ended(configured, run))  # and nobody had to start the worker again
    assert "No longer waiting: GPU GPU-1a is taken" in log.read_text()
    assert "started again" not in log.read_text()


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
        workers.work(str(ws.root), "gpu", None, None)


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
        # And where it is made anew, of another type, while a worker takes runs from it.
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
    configured: Server, make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    ws = make_workspace("twofold")
    other = belonging.named(elsewhere(ws, tmp_path / "other"))
    tags = names.tags("twofold")
    deployed = probe(configured, ws, tags=[*tags, names.registry_tag(other)])
    with working(configured, ws, "--pool", "cpu"):
        run = start(configured, deployed)
        until(lambda: "is for another registry" in (ws.root / "log").read_text())
        with configured.client() as client:
            client.update_deployment(
                deployed,
                DeploymentUpdate(tags=[*tags, names.registry_tag(belonging.named(ws))]),
            )
        until(ended(configured, start(configured, deployed)))
        state = read(configured, run).state
    assert (ws.root / "said").exists()
    assert state is not None
    assert state.type == StateType.SCHEDULED
