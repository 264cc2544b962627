"""Notices of the registry's history.

Its events are numbered, so the cursor of a receiver is a number. On a registry that several
machines share, it is a tag of the model too, and the further one counts: the machine that looks
first sends. Where two look in the same moment, both send.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

from perdure.config import Workspace
from perdure.config.unattended import Occasion
from perdure.records import IN_MLFLOW
from perdure.records import Event as HistoryEvent
from perdure.service.notify import cursor
from perdure.service.notify.message import Message, where
from perdure.service.notify.notice import EVENT_NAMES, Event, Notice
from perdure.tasks.registry.state import RegistryState, StateReader

MOST_EVENTS = 200
"""Events, at most, that are sent at once; older ones are left out."""
_OCCASIONS: dict[str, Occasion] = {
    "promoted": "promoted",
    "forced": "promoted",
    "refused": "refused",
    "held": "held",
    "rolled back": "rolled back",
}


def pending(ws: Workspace, receiver: str) -> Iterator[Notice]:
    """Yield a notice for each change behind the receiver's cursor, and then move the cursor.

    Raises:
        Unreachable: MLflow does not answer.
    """
    reader = StateReader(ws)
    state = reader.read() or RegistryState(0, None, False, {})
    registry = hashlib.sha256(f"{reader.client.uri} {reader.name}".encode()).hexdigest()[:16]
    own = replace(cursor.read(ws, receiver), registry=registry)
    first = _position(ws, receiver, reader, state, registry)
    if first is None:  # a new receiver, or another registry
        cursor.write(ws, receiver, replace(own, events=state.events))
        return
    found = reader.events(max(first, state.events - MOST_EVENTS), state.events)
    number = state.events - len(found)
    for at, group in itertools.groupby(found, key=lambda event: event.at):
        change = list(group)
        events = (_event(registry, n, event) for n, event in enumerate(change, number))
        yield Notice(at, _messages(ws, change), tuple(event for event in events if event))
        number += len(change)
        cursor.write(ws, receiver, replace(own, events=number))
        if reader.shared:
            reader.note(_tag(receiver), str(number))


def _position(
    ws: Workspace, receiver: str, reader: StateReader, state: RegistryState, registry: str
) -> int | None:
    own = cursor.read(ws, receiver)
    shared = (reader.noted(state, _tag(receiver)) or "") if reader.shared else ""
    known = [own.events] if own.registry == registry else []
    known += [int(shared)] if shared.isdecimal() else []
    return max((number for number in known if number <= state.events), default=None)


def _tag(receiver: str) -> str:
    return f"notified.{receiver}"


def _occasion(event: HistoryEvent) -> Occasion | None:
    if event.action == "moved" and event.by != IN_MLFLOW:
        return "waiting"
    return _OCCASIONS.get(event.action)


def _event(registry: str, number: int, event: HistoryEvent) -> Event | None:
    name = EVENT_NAMES.get(_occasion(event) or event.action)
    return Event(name, f"{registry} {number} {event.at}", asdict(event)) if name else None


def _messages(ws: Workspace, change: Sequence[HistoryEvent]) -> tuple[Message, ...]:
    """One message for each occasion in a change, in the order of its events."""
    held = tuple(str(event.experience) for event in change if event.action == "held")
    found: dict[Occasion, Message] = {}
    for event in change:
        occasion = _occasion(event)
        if occasion is None or occasion in found:
            continue
        learned = event.experience if occasion in ("promoted", "waiting") else None
        found[occasion] = Message(
            occasion,
            ws.config.model.name,
            event.at,
            where(ws),
            version=event.version,
            replaced=event.replaced,
            experiences=(learned,) if learned else held,
            reason=event.reason,
            by=event.by,
        )
    return tuple(found.values())
