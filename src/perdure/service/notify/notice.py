"""A notice: one change of a model, as messages for people and events for Prefect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perdure.orchestration.events import EventName
from perdure.service.notify.message import Message

EVENT_NAMES: Mapping[str, EventName] = {
    "promoted": "perdure.model.promoted",
    "waiting": "perdure.model.waiting",
    "refused": "perdure.model.refused",
    "held": "perdure.experience.held",
    "rolled back": "perdure.model.rolled-back",
    "crashed": "perdure.run.crashed",
    "drifted": "perdure.drift.detected",
    "metric fell": "perdure.metric.fell",
}
"""For each occasion, and for actions of the history that people get no message of."""


@dataclass(frozen=True)
class Event:
    """One event for Prefect."""

    name: EventName
    identity: str
    """Prefect takes two events with one identity as one, whichever machine sends them."""
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class Notice:
    """One change of a model."""

    at: str
    """UTC, ISO 8601."""
    messages: tuple[Message, ...]
    """The most important first; a receiver gets the first that it wants."""
    events: tuple[Event, ...]
