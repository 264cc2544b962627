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
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import (
    ConcurrencyLimitStrategy,
    ConcurrencyOptions,
    State,
    StateType,
)
from prefect.settings import temporary_settings

from perdure import config
from perdure.config import Workspace
from perdure.flows.service import alive, events, heartbeats, housekeeping, names
from perdure.flows.service.heartbeats import GAP_S, SILENCE_S
from perdure.flows.service.housekeeping import Housekeeping
from perdure.flows.service.unstarted import FETCHING_S, PENDING_S, STARTING_S

FLOWS = """\
import sys, time
from perdure.flows.prefect_engine import flow, step
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
from perdure.flows.service import alive
alive.hold_from_environment(Path(sys.argv[1]))
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
    deadline = time.monotonic() + 30
    while look() != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    assert look() == wanted


def deployed(client: SyncPrefectClient, model: str, pool: str | None = None) -> UUID:
    """A deployment of which one run may be at a time."""

    def nothing() -> None:
        pass

    flow = client.create_flow(prefect_flow(nothing))
    return client.create_deployment(
        flow,
        f"d-{model}",
        work_pool_name=pool,
        tags=names.tags(model),
        concurrency_limit=1,
        concurrency_options=ConcurrencyOptions(
            collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
        ),
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
    keeper = Housekeeping()
    with process(FLOWS, str(workspace.root), "wait", PREFECT_API_URL=prefect_server) as run:
        id_ = UUID(line(run))
        assert line(run) == "works"
        eventually(lambda: tasks(client).get("work"), "Running")
        assert alive.known(workspace.root, str(id_))
        for _ in range(2):  # it lives: whatever the clock says, it is let be
            assert Housekeeping(clock=lambda: time.monotonic() + 1e9).sweep(workspace, client) == []
        kill(run)
    assert (state(client, id_), subflows(client, id_)) == ("Running", ["Running"])
    assert keeper.sweep(workspace, client)[0] == id_
    assert (state(client, id_), subflows(client, id_)) == ("Crashed", ["Crashed"])
    eventually(lambda: tasks(client).get("work"), "Crashed")
    found = client.read_flow_run(id_).state
    assert found is not None
    assert found.message == housekeeping.GONE
    assert not alive.known(workspace.root, str(id_))
    assert keeper.sweep(workspace, client) == []


def test_a_run_that_ended_well_stays_so_and_its_lock_is_removed(
    client: SyncPrefectClient, workspace: Workspace, prefect_server: str
) -> None:
    with process(FLOWS, str(workspace.root), "end", PREFECT_API_URL=prefect_server) as run:
        id_ = UUID(line(run))
        assert line(run) == "works"
        assert run.wait() == 0
    assert alive.known(workspace.root, str(id_))
    assert Housekeeping().sweep(workspace, client) == []
    assert state(client, id_) == "Completed"
    assert list(alive.folder(workspace.root).iterdir()) == []


@pytest.mark.parametrize("how", [StateType.PENDING, StateType.RUNNING])
def test_its_place_is_free_at_once(
    client: SyncPrefectClient, workspace: Workspace, how: StateType
) -> None:
    deployment = deployed(client, workspace.config.model.name)
    run, _ = begun(client, deployment, how)
    with process(HOLDS, str(workspace.root), **{alive.FLOW_RUN: str(run)}) as one:
        assert line(one) == "holds"
        assert Housekeeping().sweep(workspace, client) == []
        kill(one)
    assert begun(client, deployment, StateType.RUNNING)[1] == "Cancelled"
    assert Housekeeping().sweep(workspace, client) == [run]
    assert state(client, run) == "Crashed"
    assert begun(client, deployment, StateType.RUNNING)[1] == "Running"


def test_what_was_being_cancelled_is_cancelled(
    client: SyncPrefectClient, workspace: Workspace
) -> None:
    run, name = begun(client, deployed(client, workspace.config.model.name), StateType.CANCELLING)
    assert name == "Cancelling"
    with process(HOLDS, str(workspace.root), **{alive.FLOW_RUN: str(run)}) as one:
        assert line(one) == "holds"
        kill(one)
    assert Housekeeping().sweep(workspace, client) == [run]
    assert state(client, run) == "Cancelled"


def test_a_run_that_is_yet_to_come_is_no_zombie(
    client: SyncPrefectClient, workspace: Workspace
) -> None:
    run = client.create_flow_run_from_deployment(deployed(client, "x")).id
    with process(HOLDS, str(workspace.root), **{alive.FLOW_RUN: str(run)}) as one:
        assert line(one) == "holds"
        kill(one)
    assert Housekeeping().sweep(workspace, client) == []
    assert state(client, run) == "Scheduled"


def pooled(client: SyncPrefectClient, kind: str) -> str:
    """A work pool of a type."""
    name = f"{kind}-{uuid4().hex[:8]}"
    client.create_work_pool(WorkPoolCreate(name=name, type=kind))
    return name


@contextmanager
def sleeping(**environment: str) -> Iterator[str]:
    """The number of a process of this machine."""
    with process("print('here', flush=True); import time; time.sleep(600)", **environment) as one:
        assert line(one) == "here"
        yield str(one.pid)


@pytest.mark.parametrize(
    ("pool", "where", "ends"),
    [
        (None, None, PENDING_S),
        ("process", None, PENDING_S),
        ("process", "gone", STARTING_S),
        ("process", "here", None),
        ("process", "another's", STARTING_S),  # after a boot the numbers come again
        ("docker", None, FETCHING_S),  # the worker fetches an image before it says anything
        ("docker", "cluster:namespace:job", None),
    ],
)
def test_a_pending_run_that_nobody_starts_is_ended(
    client: SyncPrefectClient,
    workspace: Workspace,
    pool: str | None,
    where: str | None,
    ends: float | None,
) -> None:
    named = pooled(client, pool) if pool else None
    model = workspace.config.model.name
    run, name = begun(client, deployed(client, model, named), StateType.PENDING)
    assert name == "Pending"
    with sleeping() as gone:
        pass
    with (
        sleeping(**{alive.FLOW_RUN: str(run)}) as ours,
        sleeping(**{alive.FLOW_RUN: str(uuid4())}) as theirs,
    ):
        known = {"gone": gone, "here": ours, "another's": theirs}
        if where is not None:
            pid = known.get(where, where)
            client.update_flow_run(run, "deployed", infrastructure_pid=pid)
        now = 0.0
        keeper = Housekeeping(clock=lambda: now)
        for now in (0.0, (ends or 1e9) - 1):  # noqa: B007 - the clock reads it
            assert keeper.sweep(workspace, client) == []
        now = ends or 2e9
        assert keeper.sweep(workspace, client) == ([run] if ends else [])
    assert state(client, run) == ("Crashed" if ends else "Pending")


def test_a_pending_run_of_another_model_is_not_ours(
    client: SyncPrefectClient, workspace: Workspace
) -> None:
    run, _ = begun(
        client, deployed(client, f"not-{workspace.config.model.name}"), StateType.PENDING
    )
    now = 0.0
    keeper = Housekeeping(clock=lambda: now)
    keeper.sweep(workspace, client)
    now = 1e9
    assert keeper.sweep(workspace, client) == []
    assert state(client, run) == "Pending"


def beat(client: SyncPrefectClient, run: UUID, hours: float = 0.0) -> None:
    """What Prefect's engine sends of a run, by a clock that may be wrong (test_worker.py)."""
    name, before = f"prefect.flow-run.{run}", heard(client, run)
    event = {
        "event": heartbeats.BEAT,
        "id": str(uuid4()),
        "occurred": (datetime.now(UTC) + timedelta(hours=hours)).isoformat(),
        "resource": {"prefect.resource.id": name},
    }
    client.request("POST", "/events", json=[event]).raise_for_status()
    eventually(lambda: heard(client, run) != before, True)


def heard(client: SyncPrefectClient, run: UUID) -> events.Heard:
    return events.heard(client, heartbeats.BEAT, f"prefect.flow-run.{run}")


def test_a_run_elsewhere_that_is_not_heard_of_any_more_is_ended(
    client: SyncPrefectClient, workspace: Workspace
) -> None:
    model = workspace.config.model.name
    deployment = client.read_deployment(deployed(client, model)).id
    client.update_deployment(deployment, DeploymentUpdate(concurrency_limit=9))
    runs = [begun(client, deployment, StateType.RUNNING)[0] for _ in range(3)]
    beats, silent, mute = runs
    (stopping, _), now = begun(client, deployment, StateType.CANCELLING), 0.0
    keeper = Housekeeping(clock=lambda: now)
    for id_ in (beats, silent, stopping):
        beat(client, id_)
    for tick in range(int(SILENCE_S) // 30):
        now = 30.0 * tick
        beat(client, beats, hours=5.0 - 2 * tick)  # whatever its clock says
        assert keeper.sweep(workspace, client) == []
    now = SILENCE_S
    assert set(keeper.sweep(workspace, client)) == {silent, mute, stopping}
    said = [state(client, id_) for id_ in (beats, silent, mute, stopping)]
    assert said == ["Running", "Crashed", "Crashed", "Cancelled"]
    now = 2 * SILENCE_S - 60
    assert keeper.sweep(workspace, client) == []


def test_while_prefect_was_away_nobody_listened(
    client: SyncPrefectClient, workspace: Workspace
) -> None:
    """What a run sends meanwhile is late, or lost; what it sent before says nothing."""
    run, _ = begun(client, deployed(client, workspace.config.model.name), StateType.RUNNING)
    beat(client, run)
    now = 0.0
    keeper = Housekeeping(clock=lambda: now)
    keeper.sweep(workspace, client)
    for away in (GAP_S + 1, SILENCE_S - 1, SILENCE_S + 1, 3600.0):
        now += away
        for _ in range(int(SILENCE_S) // 30):
            assert keeper.sweep(workspace, client) == []
            now += 29
    now += SILENCE_S - int(SILENCE_S) // 30 * 29
    assert keeper.sweep(workspace, client) == [run]


def test_a_run_that_lives_here_need_not_be_heard(
    client: SyncPrefectClient, workspace: Workspace
) -> None:
    run, _ = begun(client, deployed(client, workspace.config.model.name), StateType.RUNNING)
    now = 0.0
    keeper = Housekeeping(clock=lambda: now)
    with process(HOLDS, str(workspace.root), **{alive.FLOW_RUN: str(run)}) as one:
        assert line(one) == "holds"
        for _ in range(20):
            assert keeper.sweep(workspace, client) == []
            now += 30
    assert state(client, run) == "Running"


def test_a_run_of_another_server_leaves_nothing_behind(
    client: SyncPrefectClient, workspace: Workspace
) -> None:
    alive.folder(workspace.root).mkdir(parents=True)
    (alive.folder(workspace.root) / str(uuid4())).touch()
    (alive.folder(workspace.root) / ".half-made.999999999").touch()
    assert Housekeeping().sweep(workspace, client) == []
    assert list(alive.folder(workspace.root).iterdir()) == []


def test_one_process_is_one_run_after_the_other(workspace: Workspace) -> None:
    """A process that does many runs does not keep a lock, and a descriptor, for each."""
    program = (
        "import sys, os\nfrom pathlib import Path\nfrom perdure.flows.service import alive\n"
        "for n in range(300):\n"
        "    alive.hold(Path(sys.argv[1]), str(n)); alive._over.add(next(iter(alive._held)))\n"
        "print(len(os.listdir('/dev/fd')), flush=True)\nsys.stdin.read()\n"
    )
    with process(program, str(workspace.root)) as one:
        assert int(line(one)) < 20
        found = sorted(int(id_) for id_, _ in alive.gone(workspace.root))
    assert found == list(range(found[0], 299))  # the last one is held
    assert alive.MOST // 2 <= len(found) <= alive.MOST  # nobody asked what became of the others
