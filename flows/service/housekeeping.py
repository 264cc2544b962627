"""Zombies: flow runs that Prefect believes to run, though their process is gone.

Prefect learns of a killed process from its worker. Where that was killed too, the run stays as it
was, and with it its place among the runs that may be at once. The evidence is a lock that the
process held (`alive.py`), never the time: a clock that jumps ends nobody's run. Runs of other
machines leave no lock here, and are ended when their heartbeats are missing.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from perdure.config import Workspace
from perdure.flows.service import alive, names

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.objects import FlowRun, State, StateType

logger = logging.getLogger("perdure")

PENDING_S = 60.0
"""A worker that lives starts a pending run's process within this."""
STARTING_S = 180.0
"""A process that was started makes its lock within this, on a machine that is slow and not ours."""
SETTLE_S = 1.0
"""What a process told Prefect before it ended may be on its way for so long."""
GONE = "Its process is gone: it was killed, or its machine was switched off."
NEVER = "No process was started for it: its worker is gone."


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
        self._clock = clock
        self._sleep = sleep
        self._pending: dict[UUID, float] = {}
        """Since when each was seen to be pending without a process."""

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
        for run in self._never_started(ws, client):
            ended += _end(client, run, NEVER)
        return ended

    def _never_started(self, ws: Workspace, client: SyncPrefectClient) -> Iterator[FlowRun]:
        """Runs that a worker took, and then nothing came of it."""
        found = {
            run.id: run
            for run in _pending(client, ws.config.model.name)
            if not alive.known(ws.root, str(run.id)) and _may_be_gone(run.infrastructure_pid)
        }
        now = self._clock()
        self._pending = {id_: self._pending.get(id_, now) for id_ in found}
        for id_, since in self._pending.items():
            started = found[id_].infrastructure_pid is not None
            if now - since >= (STARTING_S if started else PENDING_S):
                yield found[id_]


def _may_be_gone(process: str | None) -> bool:
    """Whether the process of a pending run, as its worker named it, is not one that is here.

    Docker's and Kubernetes' workers give other names than a number; they look after their own.
    """
    if process is None:
        return True
    if not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


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


def _pending(client: SyncPrefectClient, model: str) -> list[FlowRun]:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags

    tags = FlowRunFilterTags(all_=[names.model_tag(model)])
    found = _under_way(client, FlowRunFilter(tags=tags))
    return [run for run in found if run.state is not None and run.state.is_pending()]


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
