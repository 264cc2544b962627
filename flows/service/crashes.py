"""Flow runs of a model's deployments that crashed or failed, put into the outbox.

Several machines may look at the same server. Who tells of a run writes its name on it, waits, and
looks whether it is still there; when it has written down what to send, it marks the run as told.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from perdure.config import Workspace
from perdure.flows.service import api, claims, names, posting
from perdure.flows.service.notice import Notice, where
from perdure.flows.service.outbox import Outbox

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

MARGIN_S = 3600.0
"""Of the clocks of other machines, and of runs that are marked as crashed late."""
MOST = 100
"""Runs that are looked at in one go."""
TOLD = "perdure:told"
"""Tag of a flow run that was told, for other machines to see."""
TELLING = "perdure:telling:"
"""Begins the tag that says which machine is about to tell."""
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
    telling: str | None = None
    """The tag that says which machine is about to tell."""


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
    found = since(ws, min(box.looked, now))  # the clock may have been put back
    new = [crash for crash in found if crash.id not in box.runs]
    mine = _claimed(ws, box, new, now) if new else []
    for crash in mine:
        box.runs[crash.id] = now
        alike = hashlib.sha256(f"{crash.flow} {crash.reason}".encode()).hexdigest()[:16]
        if not 0 <= now - box.alike.get(alike, 0.0) < ALIKE_S:
            box.alike[alike] = now
            posting.people(ws, box, [_notice(ws, crash)])
        posting.event(box, "crashed", f"run {crash.id}", _facts(crash))
    if mine or abs(now - box.looked) > MARGIN_S:
        # What was told is kept for longer than the look goes back, whatever the clock does.
        box.looked = now
        box.runs = {k: v for k, v in box.runs.items() if abs(now - v) < 3 * MARGIN_S}
        box.alike = {k: v for k, v in box.alike.items() if abs(now - v) < ALIKE_S}
        box.claims = {k: v for k, v in box.claims.items() if abs(now - v) < 3 * MARGIN_S}
        box.save()
    # A kill may have come before the mark.
    mark(ws, [*mine, *(crash for crash in found if crash not in new)])


def _claimed(ws: Workspace, box: Outbox, crashes: Sequence[Crash], now: float) -> list[Crash]:
    """Those that are this machine's to tell."""
    own = TELLING + box.id
    box.save()  # our name must outlive us
    ours = []
    for crash in crashes:
        if crash.telling not in (None, own):
            box.claims.setdefault(crash.id, now)
            if 0 <= now - box.claims[crash.id] < claims.CLAIM_S:
                continue
        ours.append(crash)
    with api.client(ws, retries=0) as client:
        for crash in ours:
            _tag(client, crash.id, own)
        if ours:
            time.sleep(claims.SETTLE_S)
        now_there = {crash.id: _tags(client, crash.id) for crash in ours}
    return [
        crash for crash in ours if own in now_there[crash.id] and TOLD not in now_there[crash.id]
    ]


def _tags(client: SyncPrefectClient, id_: str) -> list[str]:
    """The tags of a run; none where it was removed meanwhile."""
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_flow_run(UUID(id_)).tags
    except ObjectNotFound:
        return []


def _tag(client: SyncPrefectClient, id_: str, tag: str) -> None:
    """Write a tag on a run, in place of who was telling of it."""
    tags = _tags(client, id_)
    if tags and TOLD not in tags and tag not in tags:
        rest = [one for one in tags if not one.startswith(TELLING)]
        client.update_flow_run(UUID(id_), tags=[*rest, tag])


def _facts(crash: Crash) -> dict[str, Any]:
    return {name: value for name, value in asdict(crash).items() if name != "telling"}


def _notice(ws: Workspace, crash: Crash) -> Notice:
    model = ws.config.model.name
    return Notice("crashed", model, crash.at, where(ws.root), reason=crash.reason, run=crash.name)


def since(ws: Workspace, looked: float) -> tuple[Crash, ...]:
    """The runs that crashed or failed since a look and are not marked as told, oldest first.

    Args:
        ws: The workspace.
        looked: When somebody last looked, in seconds since 1970.

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
        if TOLD in run.tags or any(r in (reason or "") for r in RESULTS):
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
                telling=next((one for one in run.tags if one.startswith(TELLING)), None),
            )
        )
    return tuple(found)


def mark(ws: Workspace, crashes: Sequence[Crash]) -> None:
    """Write on the runs that they were told.

    Raises:
        UsageError: There is no server.
        Unreachable: It does not answer.
    """
    if crashes:
        with api.client(ws, retries=0) as client:
            for crash in crashes:
                _tag(client, crash.id, TOLD)
