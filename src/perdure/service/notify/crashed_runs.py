"""Notices of a model's flow runs that crashed or failed.

That a receiver was sent one is a tag of the run, so that every machine knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from perdure.config import Workspace
from perdure.orchestration import api, names, outcomes
from perdure.service.notify import cursor
from perdure.service.notify.message import Message, where
from perdure.service.notify.notice import EVENT_NAMES, Event, Notice

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

LOOK_BACK = timedelta(days=1)
MOST_RUNS = 100
"""Runs, at most, that are read; older ones are left out."""
REPEATED = timedelta(hours=1)
"""A fault that comes again within this time is no new message."""
SENT = "perdure:notified:"
"""Begins the tag of a run that a receiver was sent."""


def pending(ws: Workspace, receiver: str) -> Iterator[Notice]:
    """Yield a notice for each run that the receiver was not sent, and then tag the run.

    Raises:
        UsageError: There is no Prefect server.
        Unreachable: It does not answer.
    """
    since = datetime.fromisoformat(cursor.read(ws, receiver).since)
    tag = f"{SENT}{receiver}"
    with api.client(ws, retries=0) as client:
        runs = _read(client, ws)
    for run in runs:
        if _ended(run) < since or tag in run.tags:
            continue
        yield _notice(ws, run, repeated=any(_repeats(run, other, tag) for other in runs))
        run.tags.append(tag)
        with api.client(ws, retries=0) as client:
            client.update_flow_run(run.id, tags=run.tags)


def _notice(ws: Workspace, run: FlowRun, *, repeated: bool) -> Notice:
    at, model = _ended(run).isoformat(timespec="seconds"), ws.config.model.name
    message = Message("crashed", model, at, where(ws), reason=_reason(run), run=run.name)
    facts = {"id": str(run.id), "name": run.name, "flow": str(run.flow_id), "at": at}
    facts |= {"state": run.state_name or "Crashed", "reason": _reason(run)}
    event = Event(EVENT_NAMES["crashed"], f"run {run.id}", facts)
    return Notice(at, () if repeated else (message,), (event,))


def _read(client: SyncPrefectClient, ws: Workspace) -> list[FlowRun]:
    """The runs of the last day, oldest first."""
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.types import DateTime

    after = DateTime.now(UTC) - LOOK_BACK
    types = filters.FlowRunFilterStateType(any_=[StateType.CRASHED, StateType.FAILED])
    wanted = filters.FlowRunFilter(
        tags=filters.FlowRunFilterTags(all_=[names.model_tag(ws.config.model.name)]),
        parent_task_run_id=filters.FlowRunFilterParentTaskRunId(is_null_=True),
        state=filters.FlowRunFilterState(type=types),
        end_time=filters.FlowRunFilterEndTime(after_=after),
    )
    runs = client.read_flow_runs(
        flow_run_filter=wanted, sort=FlowRunSort.END_TIME_DESC, limit=MOST_RUNS
    )
    return [run for run in reversed(runs) if run.state_name not in outcomes.RESULTS]


def _repeats(run: FlowRun, other: FlowRun, tag: str) -> bool:
    """Whether the other run ended just before, for the same reason, and the receiver knows it."""
    alike = (run.flow_id, _reason(run)) == (other.flow_id, _reason(other))
    return alike and tag in other.tags and timedelta(0) <= _ended(run) - _ended(other) < REPEATED


def _ended(run: FlowRun) -> datetime:
    return run.end_time or datetime.now(UTC)


def _reason(run: FlowRun) -> str:
    return (run.state.message if run.state else None) or ""
