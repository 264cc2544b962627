"""Flow runs that Prefect believes to run, though their process is gone: marked as crashed.

Prefect learns of a killed process from its worker. Where that was killed too, the run stays as it
was. Nothing waits for it: this only puts the page right. The evidence is a lock that the process
held (`run_lock.py`); for a run that was taken and has no process, the time. A machine marks its own
runs; those of a machine that never comes back a person marks on Prefect's page. Runs that a clock
made which was ahead are cancelled.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from perdure.config import Workspace
from perdure.orchestration import names, pools, run_lock

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State, StateType

logger = logging.getLogger("perdure")

SETTLE_S = 1.0
"""What a process sent to Prefect before it ended may be on its way for so long."""
PENDING_S = 120.0
"""A worker that lives starts the process of a run that it has taken within this."""
FETCHING_S = 1800.0
"""How long for a worker of containers, which may have to fetch an image."""
GONE = "Its process is gone: it was killed, or its machine was switched off."
NEVER = "No process was started for it: its worker is gone."
AHEAD = timedelta(hours=1)
"""The clocks of machines that work together differ by less."""
TOO_EARLY = "It was made by a clock that was ahead, and would wait for that time to come."


def end(ws: Workspace, client: SyncPrefectClient, now: datetime) -> list[UUID]:
    """Mark the dead runs of a workspace, and remove the locks of what has ended.

    Args:
        ws: The workspace.
        client: Of Prefect's API.
        now: The time, with a time zone.

    Returns:
        The flow runs that were marked.

    Raises:
        httpx.HTTPError: Prefect does not answer.
    """
    ended: list[UUID] = []
    for id_, lock in run_lock.gone(ws.root):
        run = _read(client, id_)
        if _is_under_way(run):
            time.sleep(SETTLE_S)
            run = _read(client, id_)
        if run is not None:
            ended += _end(client, run, GONE)
        run_lock.forget(lock)
    for run in _not_begun(client, ws):
        if run.created is not None and run.created > now + AHEAD:
            ended.append(_cancel(client, run))
        elif _is_never_started(client, ws, run, now):
            ended += _end(client, run, NEVER)
    return ended


def _is_never_started(
    client: SyncPrefectClient, ws: Workspace, run: FlowRun, now: datetime
) -> bool:
    """Whether a worker took the run, and has started no process for it in time."""
    # A run that has, or had, a process on this machine has a lock.
    if run.state is None or not run.state.is_pending() or run_lock.known(ws.root, str(run.id)):
        return False
    return (now - run.state.timestamp).total_seconds() >= _limit(client, run)


def _cancel(client: SyncPrefectClient, run: FlowRun) -> UUID:
    """Cancel a run from before the clock was set back; the worker ends one that has a process."""
    from prefect.client.schemas.objects import State, StateType

    taken = run.state is not None and run.state.is_pending()
    kind = StateType.CANCELLING if taken else StateType.CANCELLED
    client.set_flow_run_state(run.id, State(type=kind, message=TOO_EARLY), force=True)
    logger.warning("Flow run %s is cancelled. %s", run.name, TOO_EARLY)
    return run.id


def _limit(client: SyncPrefectClient, run: FlowRun) -> float:
    """How long a run may be pending without a process, in s."""
    from prefect.exceptions import ObjectNotFound

    try:
        own = client.read_work_pool(run.work_pool_name or "cpu").type == pools.TYPE
    except ObjectNotFound:
        own = True
    return PENDING_S if own else FETCHING_S


def _read(client: SyncPrefectClient, id_: str) -> FlowRun | None:
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_flow_run(UUID(id_))
    except (ObjectNotFound, ValueError):  # of a temporary server, or no flow run at all
        return None


def _not_begun(client: SyncPrefectClient, ws: Workspace) -> list[FlowRun]:
    """The model's runs that are scheduled, or that a worker has taken and not begun."""
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType

    types = filters.FlowRunFilterStateType(any_=[StateType.SCHEDULED, StateType.PENDING])
    chosen = filters.FlowRunFilter(
        tags=filters.FlowRunFilterTags(all_=[names.model_tag(ws.config.model.name)]),
        state=filters.FlowRunFilterState(type=types),
    )
    return client.read_flow_runs(flow_run_filter=chosen, limit=200)


def _end(client: SyncPrefectClient, run: FlowRun, why: str) -> list[UUID]:
    """End a run, its tasks and its subflows, where they are under way."""
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import State, StateType

    crashed: State[object] = State(type=StateType.CRASHED, message=why)
    ended = []
    if _is_under_way(run):
        assert run.state is not None
        cancelled: State[object] = State(type=StateType.CANCELLED, message=why)
        state = cancelled if run.state.type == StateType.CANCELLING else crashed
        # By the rules first, so that a result that came in this moment stays.
        client.set_flow_run_state(run.id, state)
        if _is_under_way(client.read_flow_run(run.id)):
            client.set_flow_run_state(run.id, state, force=True)
        logger.warning("Flow run %s is dead, and is marked so in Prefect. %s", run.name, why)
        ended.append(run.id)
    of_run = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[run.id]))
    types = filters.TaskRunFilterStateType(any_=_under_way())
    tasks = filters.TaskRunFilter(state=filters.TaskRunFilterState(type=types))
    for task in client.read_task_runs(task_run_filter=tasks, flow_run_filter=of_run, limit=200):
        client.set_task_run_state(task.id, crashed, force=True)
    parent = filters.FlowRunFilterParentFlowRunId(any_=[run.id])
    subflows = filters.FlowRunFilter(
        parent_flow_run_id=parent,
        state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=_under_way())),
    )
    for subflow in client.read_flow_runs(flow_run_filter=subflows, limit=200):
        ended += _end(client, subflow, why)
    return ended


def _is_under_way(run: FlowRun | None) -> bool:
    return run is not None and run.state is not None and run.state.type in _under_way()


def _under_way() -> list[StateType]:
    from prefect.client.schemas.objects import StateType

    return [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
