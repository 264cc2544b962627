"""From something that happened to messages in the outbox: for people, and for Prefect's events."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from perdure.config import Workspace
from perdure.config.unattended import Occasion
from perdure.flows.service import events, notices
from perdure.flows.service.notice import Notice
from perdure.flows.service.outbox import Outbox

PREFECT = "prefect"
"""The receiver of events."""
EVENTS: dict[Occasion, events.EventName] = {
    "promoted": "perdure.model.promoted",
    "refused": "perdure.model.refused",
    "held": "perdure.experience.held",
    "rolled back": "perdure.model.rolled-back",
    "crashed": "perdure.run.crashed",
}
_SPACE = uuid.UUID("5b0b1b8e-53c8-4a7e-9a55-0d0f3f5b9a11")


def people(ws: Workspace, box: Outbox, candidates: Sequence[Notice]) -> None:
    """One notice for each receiver: the first of those of one change that it wants."""
    for receiver in notices.receivers(ws):
        if chosen := receiver.chosen(candidates):
            box.add(receiver.key, asdict(chosen))


def event(box: Outbox, occasion: Occasion, identity: str, payload: Mapping[str, Any]) -> None:
    """One event for Prefect.

    Args:
        box: Where it goes.
        occasion: What happened.
        identity: The same for the same thing, whoever tells of it: Prefect takes it once.
        payload: Facts about it.
    """
    known = str(uuid.uuid5(_SPACE, identity))
    box.add(PREFECT, {"name": EVENTS[occasion], "id": known, "payload": dict(payload)})
