"""From something that happened to messages in the outbox: for people, and for Prefect's events."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from perdure.config import Workspace
from perdure.flows.service import events, notices
from perdure.flows.service.notice import Notice
from perdure.flows.service.outbox import Outbox

PREFECT = "prefect"
"""The receiver of events."""
EVENTS: dict[str, events.EventName] = {
    "promoted": "perdure.model.promoted",
    "waiting": "perdure.model.waiting",
    "refused": "perdure.model.refused",
    "held": "perdure.experience.held",
    "rolled back": "perdure.model.rolled-back",
    "crashed": "perdure.run.crashed",
    "drifted": "perdure.drift.detected",
    "metric fell": "perdure.metric.fell",
}
"""Of an occasion of notices, or of an action of the history that people are not told of."""
_SPACE = uuid.UUID("5b0b1b8e-53c8-4a7e-9a55-0d0f3f5b9a11")


def people(
    ws: Workspace, box: Outbox, candidates: Sequence[Notice], sent: Sequence[Notice] = ()
) -> None:
    """One notice for each receiver: the first of those of one change that it wants.

    Args:
        ws: The workspace.
        box: Where it goes.
        candidates: The notices of the change.
        sent: Notices of the same change that were sent before; who wanted one has it.
    """
    for receiver in notices.receivers(ws):
        chosen = receiver.chosen(candidates)
        if chosen is not None and receiver.chosen(sent) is None:
            box.add(receiver.key, asdict(chosen))


def event(box: Outbox, what: str, identity: str, payload: Mapping[str, Any]) -> None:
    """One event for Prefect.

    Args:
        box: Where it goes.
        what: What happened, a key of `EVENTS`.
        identity: The same for the same thing, whoever tells of it: Prefect takes it once.
        payload: Facts about it.
    """
    known = str(uuid.uuid5(_SPACE, identity))
    box.add(PREFECT, {"name": EVENTS[what], "id": known, "payload": dict(payload)})
