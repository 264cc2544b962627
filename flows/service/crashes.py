"""Flow runs of a model's deployments that crashed or failed, put into the outbox."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from uuid import UUID

from perdure.config import Workspace
from perdure.flows.service import api, names, posting
from perdure.flows.service.notice import Notice, where
from perdure.flows.service.outbox import Outbox

MARGIN_S = 3600.0
"""Of the clocks of other machines, and of runs that are marked as crashed late."""
MOST = 100
"""Runs that are looked at in one go."""
TOLD = "perdure:told"
"""Tag of a flow run that was told, for other machines to see."""
ALIKE_S = 3600.0
"""A fault that people were told is told again after so long at the earliest."""
RESULTS = ("LockHeld:", "DataRefused:", "GateRefused:", "Refusal:")
"""Errors that end a run as they should: nothing crashed."""


@dataclass(frozen=True)
class Crash:
    """One flow run that ended as it should not."""

    id: str
    name: str
    flow: str
    """Id of the flow."""
    at: str
    """UTC, ISO 8601."""
    state: str
    """`Crashed`, `Failed`, or a name of Prefect's that says more, such as `TimedOut`."""
    reason: str | None


def gather(ws: Workspace, box: Outbox) -> None:
    """Put what is new into the outbox; the first time ever, only note when that was.

    Raises:
        UsageError: There is no server.
        Unreachable: It does not answer.
    """
    now = time.time()
    if box.looked is None:
        box.looked = now
        box.save()
        return
    found = since(ws, box.looked, box.runs)
    if not found:
        return
    for crash in found:
        box.runs[crash.id] = now
        alike = hashlib.sha256(f"{crash.flow} {crash.reason}".encode()).hexdigest()[:16]
        if not 0 <= now - box.alike.get(alike, 0.0) < ALIKE_S:
            box.alike[alike] = now
            posting.people(ws, box, [_notice(ws, crash)])
        posting.event(box, "crashed", f"run {crash.id}", asdict(crash))
    # What was told is kept for longer than the look goes back, whatever the clock does.
    box.looked = now
    box.runs = {k: v for k, v in box.runs.items() if abs(now - v) < 2 * MARGIN_S}
    box.alike = {k: v for k, v in box.alike.items() if abs(now - v) < ALIKE_S}
    box.save()
    mark(ws, found)


def _notice(ws: Workspace, crash: Crash) -> Notice:
    model = ws.config.model.name
    return Notice("crashed", model, crash.at, where(ws.root), reason=crash.reason, run=crash.name)


def since(ws: Workspace, looked: float, told: Container[str]) -> tuple[Crash, ...]:
    """The runs that crashed or failed since a look, oldest first.

    Args:
        ws: The workspace.
        looked: When somebody last looked, in seconds since 1970.
        told: Ids of runs that were told.

    Raises:
        UsageError: There is no server.
        Unreachable: It does not answer.
    """
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.types import DateTime

    wanted = filters.FlowRunFilter(
        tags=filters.FlowRunFilterTags(all_=[names.model_tag(ws.config.model.name)]),
        parent_task_run_id=filters.FlowRunFilterParentTaskRunId(is_null_=True),
        state=filters.FlowRunFilterState(
            type=filters.FlowRunFilterStateType(any_=[StateType.CRASHED, StateType.FAILED])
        ),
        end_time=filters.FlowRunFilterEndTime(
            after_=DateTime.fromtimestamp(looked - MARGIN_S, UTC)
        ),
    )
    with api.client(ws, retries=0) as client:
        runs = client.read_flow_runs(
            flow_run_filter=wanted, sort=FlowRunSort.END_TIME_DESC, limit=MOST
        )
    found = []
    for run in reversed(runs):
        reason = run.state.message if run.state else None
        if str(run.id) in told or TOLD in run.tags or any(r in (reason or "") for r in RESULTS):
            continue
        at = run.end_time or datetime.now(UTC)
        found.append(
            Crash(
                id=str(run.id),
                name=run.name,
                flow=str(run.flow_id),
                at=at.astimezone(UTC).isoformat(timespec="seconds"),
                state=run.state_name or "Crashed",
                reason=reason,
            )
        )
    return tuple(found)


def mark(ws: Workspace, crashes: Sequence[Crash]) -> None:
    """Write on the runs that they were told.

    Raises:
        UsageError: There is no server.
        Unreachable: It does not answer.
    """
    with api.client(ws, retries=0) as client:
        for crash in crashes:
            run = client.read_flow_run(UUID(crash.id))
            client.update_flow_run(run.id, tags=[*run.tags, TOLD])
