"""A run whose process is gone does not stay Running; a run whose process lives is let be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import flow as prefect_flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import (
    State,
    StateType,
)
from prefect.settings import temporary_settings

from perdure import config
from perdure.config import Workspace
from perdure.orchestration import names, run_lock
from perdure.service import dead_runs
from perdure.service.dead_runs import FETCHING_S, GONE, PENDING_S

NOW = datetime.now(UTC)

FLOWS = """\
import sys, time
from perdure.orchestration.engine import flow, step
from prefect.runtime import flow_run

def work() -> None:
    print("works", flush=True)
    if sys.argv[2] == "wait":
        time.sleep(600)

@flow(name="inner", flow_run_name="inner")
def inner(workspace: str) -> None:
    step(work, name="work")()

@flow(name="outer", flow_run_name="outer")
def outer(workspace: str) -> None:
    print(flow_run.id, flush=True)
    inner(workspace)

outer(workspace=sys.argv[1])
"""
HOLDS = """\
import sys, time
from pathlib import Path
from perdure.orchestration import run_lock
run_lock.hold_from_environment(Path(sys.argv[1]))
print("holds", flush=True)
time.sleep(600)
"""


@pytest.fixture
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:
    with (
        temporary_settings(updates={"api.url": prefect_server}),
        get_client(sync_client=True) as found,
    ):
        yield found


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "perdure.toml").write_text(
        f'[model]\nname = "{uuid4().hex}"\n[data]\ntarget = "kind"\ntask = "classification"\n'
    )
    return config.read(tmp_path)


@contextmanager
def process(program: str, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    found = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            **environment,
        },
    )
    assert found.stdout is not None
    with found.stdout:
        try:
            yield found
        finally:
            found.kill()
            found.wait()


def line(one: subprocess.Popen[str]) -> str:
    assert one.stdout is not None
    return one.stdout.readline().strip()


def kill(one: subprocess.Popen[str]) -> None:
    one.send_signal(signal.SIGKILL)
    one.wait()


def state(client: SyncPrefectClient, run: UUID) -> str:
    found = client.read_flow_run(run).state
    assert found is not None
    return found.name or ""


def subflows(client: SyncPrefectClient, run: UUID) -> list[str]:
    parent = FlowRunFilterParentFlowRunId(any_=[run])
    found = client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id=parent))
    return [one.state.name or "" for one in found if one.state is not None]


def tasks(client: SyncPrefectClient) -> dict[str, str]:
    found = client.read_task_runs(limit=200)
    return {one.name: one.state.name or "" for one in found if one.state is not None}


def eventually(look: Callable[[], Any], wanted: Any) -> None:
    deadline = time.monotonic() + 60
    while look() != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    assert look() == wanted


def deployed(client: SyncPrefectClient, model: str, pool: str | None = None) -> UUID:
    """A deployment of a model."""

    def nothing() -> None:
        pass

    flow = client.create_flow(prefect_flow(nothing))
    return client.create_deployment(
        flow,
        f"d-{model}",
        work_pool_name=pool,
        tags=names.tags(model),
    )


def begun(client: SyncPrefectClient, deployment: UUID, state: StateType) -> tuple[UUID, str]:
    """A run of a deployment, as a worker begins it; which state Prefect gave it."""
    run = client.create_flow_run_from_deployment(deployment).id
    given = client.set_flow_run_state(run, State(type=StateType.PENDING))
    if state != StateType.PENDING and given.state is not None and given.state.is_pending():
        given = client.set_flow_run_state(run, State(type=state), force=True)
    assert given.state is not None
    return run, given.state.name or ""


def test_a_killed_run_is_ended_with_its_tasks_and_subflows(
    client: SyncPrefectClient, workspace: Workspace, prefect_server: str
) -> None:
    with process(FLOWS, str(workspace.root), "wait", PREFECT_API_URL=prefect_server) as run:
        id_ = UUID(line(run))
        assert line(run) == "works"
        eventually(lambda: tasks(client).get("work"), "Running")
        assert run_lock.known(workspace.root, str(id_))
        # It lives: whatever the clock says, it is let be.
        assert dead_runs.end(workspace, client, NOW + timedelta(days=999)) == []
        kill(run)
    assert (state(client, id_), subflows(client, id_)) == ("Running", ["Running"])
    assert dead_runs.end(workspace, client, NOW)[0] == id_
    assert (state(client, id_), subflows(client, id_)) == ("Crashed", ["Crashed"])
    eventually(lambda: tasks(client).get("work"), "Crashed")
    found = client.read_flow_run(id_).state
    assert found is not None
    assert found.message == GONE
    assert not run_lock.known(workspace.root, str(id_))
    assert dead_runs.end(workspace, client, NOW) == []


def test_a_run_that_ended_well_stays_so_and_its_lock_is_removed(
    client: SyncPrefectClient, workspace: Workspace, prefect_server: str
) -> None:
    with process(FLOWS, str(workspace.root), "end", PREFECT_API_URL=prefect_server) as run:
        id_ = UUID(line(run))
        assert line(run) == "works"
        assert run.wait() == 0
    assert run_lock.known(workspace.root, str(id_))
    assert dead_runs.end(workspace, client, NOW) == []
    assert state(client, id_) == "Completed"
    assert list(run_lock.folder(workspace.root).iterdir()) == []


def test_what_was_being_cancelled_is_cancelled(
    client: SyncPrefectClient, workspace: Workspace
) -> None:
    run, name = begun(client, deployed(client, workspace.config.model.name), StateType.CANCELLING)
    assert name == "Cancelling"
    with process(HOLDS, str(workspace.root), **{run_lock.FLOW_RUN: str(run)}) as one:
        assert line(one) == "holds"
        kill(one)
    assert dead_runs.end(workspace, client, NOW) == [run]
    assert state(client, run) == "Cancelled"


def test_a_run_that_is_yet_to_come_is_no_zombie(
    client: SyncPrefectClient, workspace: Workspace
) -> None:
    run = client.create_flow_run_from_deployment(deployed(client, "x")).id
    with process(HOLDS, str(workspace.root), **{run_lock.FLOW_RUN: str(run)}) as one:
        assert line(one) == "holds"
        kill(one)
    assert dead_runs.end(workspace, client, NOW) == []
    assert state(client, run) == "Scheduled"


def pooled(client: SyncPrefectClient, kind: str) -> str:
    """A work pool of a type."""
    name = f"{kind}-{uuid4().hex[:8]}"
    client.create_work_pool(WorkPoolCreate(name=name, type=kind))
    return name


@pytest.mark.parametrize(
    ("pool", "ends"), [(None, PENDING_S), ("process", PENDING_S), ("docker", FETCHING_S)]
)
def test_a_pending_run_that_nobody_starts_is_marked(
    client: SyncPrefectClient, workspace: Workspace, pool: str | None, ends: float
) -> None:
    named = pooled(client, pool) if pool else None
    model = workspace.config.model.name
    run, name = begun(client, deployed(client, model, named), StateType.PENDING)
    assert name == "Pending"
    taken = datetime.now(UTC)
    assert dead_runs.end(workspace, client, taken + timedelta(seconds=ends - 60)) == []
    assert dead_runs.end(workspace, client, taken + timedelta(seconds=ends)) == [run]
    assert state(client, run) == "Crashed"


def test_a_pending_run_of_another_model_is_not_ours(
    client: SyncPrefectClient, workspace: Workspace
) -> None:
    run, _ = begun(
        client, deployed(client, f"not-{workspace.config.model.name}"), StateType.PENDING
    )
    assert dead_runs.end(workspace, client, NOW + timedelta(days=999)) == []
    assert state(client, run) == "Pending"


def test_a_run_that_lives_is_left_alone(client: SyncPrefectClient, workspace: Workspace) -> None:
    run, _ = begun(client, deployed(client, workspace.config.model.name), StateType.RUNNING)
    with process(HOLDS, str(workspace.root), **{run_lock.FLOW_RUN: str(run)}) as one:
        assert line(one) == "holds"
        assert dead_runs.end(workspace, client, NOW + timedelta(days=999)) == []
    assert state(client, run) == "Running"


def test_a_run_of_another_server_leaves_nothing_behind(
    client: SyncPrefectClient, workspace: Workspace
) -> None:
    run_lock.folder(workspace.root).mkdir(parents=True)
    (run_lock.folder(workspace.root) / str(uuid4())).touch()
    (run_lock.folder(workspace.root) / ".half-made.999999999").touch()
    assert dead_runs.end(workspace, client, NOW) == []
    assert list(run_lock.folder(workspace.root).iterdir()) == []


def test_one_process_is_one_run_after_the_other(workspace: Workspace) -> None:
    """A process that does many runs does not keep a lock, and a descriptor, for each."""
    program = (
        "import sys, os\nfrom pathlib import Path\nfrom perdure.orchestration import run_lock\n"
        "for n in range(300):\n"
        "    run_lock.hold(Path(sys.argv[1]), str(n))\n"
        "    run_lock._over.add(next(iter(run_lock._held)))\n"
        "print(len(os.listdir('/dev/fd')), flush=True)\nsys.stdin.read()\n"
    )
    with process(program, str(workspace.root)) as one:
        assert int(line(one)) < 20
        found = sorted(int(id_) for id_, _ in run_lock.gone(workspace.root))
    assert found == list(range(found[0], 299))  # the last one is held
    assert (
        run_lock.MOST // 2 <= len(found) <= run_lock.MOST
    )  # nobody asked what became of the others
