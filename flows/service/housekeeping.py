"""Zombies: flow runs that Prefect believes to run, though their process is gone.

Prefect learns of a killed process from its worker. Where that was killed too, the run stays as it
was, and with it its place among the runs that may be at once. The evidence is a lock that the
process held (`alive.py`), never the time: a clock that jumps ends nobody's run. Runs of other
machines leave no lock here, and are ended when their heartbeats are missing (`heartbeats.py`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from perdure.config import Workspace
from perdure.flows.service import alive, names
from perdure.flows.service.heartbeats import SILENCE_S, Heartbeats
from perdure.flows.service.unstarted import Unstarted

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.objects import FlowRun, State, StateType

logger = logging.getLogger("perdure")

SETTLE_S = 1.0
"""What a process told Prefect before it ended may be on its way for so long."""
GONE = "Its process is gone: it was killed, or its machine was switched off."
NEVER = "No process was started for it: its worker is gone."
SILENT = (
    f"Nothing was heard of it for {SILENCE_S:g} s: its process or its machine is gone. The next "
    "retraining goes on from what the registry holds."
)


class Housekeeping:
    """Ends zombies of one workspace, and removes the locks of what has ended.

    Args:
        clock: In seconds; never set back.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._sleep = sleep
        self._unstarted = Unstarted(clock)
        self._heartbeats = Heartbeats(clock)

    def sweep(self, ws: Workspace, client: SyncPrefectClient) -> list[UUID]:
        """Look for zombies once.

        Returns:
            The flow runs that were ended.

        Raises:
            httpx.HTTPError: Prefect does not answer.
        """
        ended: list[UUID] = []
        found = list(alive.gone(ws.root))
        if any(_is_unfinished(_read(client, id_)) for id_, _ in found):
            self._sleep(SETTLE_S)
        for id_, lock in found:
            run = _read(client, id_)
            if run is not None:
                ended += _end(client, run, GONE)
            alive.forget(lock)
        # Whoever has, or had, a process here is told by its lock.
        others = [run for run in _of_model(client, ws) if not alive.known(ws.root, str(run.id))]
        pending = [run for run in others if run.state is not None and run.state.is_pending()]
        for run in self._unstarted.gone(client, pending):
            ended += _end(client, run, NEVER)
        running = [run for run in others if run not in pending and run.parent_task_run_id is None]
        for run in self._heartbeats.missing(client, running):
            ended += _end(client, run, SILENT)
        return ended


def _read(client: SyncPrefectClient, id_: str) -> FlowRun | None:
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_flow_run(UUID(id_))
    except (ObjectNotFound, ValueError):  # of a temporary server, or no flow run at all
        return None


def _is_unfinished(run: FlowRun | None) -> bool:
    return run is not None and run.state is not None and run.state.type in _claims()


def _end(client: SyncPrefectClient, run: FlowRun, why: str) -> list[UUID]:
    """End a run, its tasks and its subflows, whichever of them claim to be under way."""
    from prefect.client.schemas import filters

    ended = []
    if _is_unfinished(run):
        _set(client, run, why)
        ended.append(run.id)
    of_run = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[run.id]))
    claims = filters.TaskRunFilterStateType(any_=_claims())
    tasks = filters.TaskRunFilter(state=filters.TaskRunFilterState(type=claims))
    for task in client.read_task_runs(task_run_filter=tasks, flow_run_filter=of_run, limit=200):
        client.set_task_run_state(task.id, _crashed(why), force=True)
    parent = filters.FlowRunFilterParentFlowRunId(any_=[run.id])
    for subflow in _under_way(client, filters.FlowRunFilter(parent_flow_run_id=parent)):
        ended += _end(client, subflow, why)
    return ended


def _set(client: SyncPrefectClient, run: FlowRun, why: str) -> None:
    from prefect.client.schemas.objects import State, StateType

    assert run.state is not None
    state = _crashed(why)
    if run.state.type == StateType.CANCELLING:  # which is what somebody wanted
        state = State(type=StateType.CANCELLED, message=why)
    # By the rules first, so that a result that came in this moment stands.
    client.set_flow_run_state(run.id, state)
    now = client.read_flow_run(run.id)
    if _is_unfinished(now):
        client.set_flow_run_state(run.id, state, force=True)
    logger.warning("Flow run %s was a zombie and is ended. %s", run.name, why)


def _crashed(why: str) -> State[object]:
    from prefect.client.schemas.objects import State, StateType

    return State(type=StateType.CRASHED, message=why)


def _of_model(client: SyncPrefectClient, ws: Workspace) -> list[FlowRun]:
    """The runs of the model's deployments that claim to be under way."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags

    tags = FlowRunFilterTags(all_=[names.model_tag(ws.config.model.name)])
    return _under_way(client, FlowRunFilter(tags=tags))


def _under_way(client: SyncPrefectClient, chosen: FlowRunFilter) -> list[FlowRun]:
    from prefect.client.schemas.filters import FlowRunFilterState, FlowRunFilterStateType

    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=_claims()))
    return client.read_flow_runs(
        flow_run_filter=chosen.model_copy(update={"state": state}), limit=200
    )


def _claims() -> list[StateType]:
    """States of a run that claims to be under way. One that is yet to start is no zombie."""
    from prefect.client.schemas.objects import StateType

    return [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
