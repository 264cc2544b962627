"""Notices of files of which much was refused when they arrived.

An ingest on this machine leaves a note of such a file. Notes have names in the order of their time,
so the cursor of a receiver is a name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace

from perdure.config import Workspace
from perdure.records import Event as HistoryEvent
from perdure.service.notify import cursor
from perdure.service.notify.message import Message, where
from perdure.service.notify.notice import EVENT_NAMES, Event, Notice
from perdure.tasks import refusal_notes


def pending(ws: Workspace, receiver: str) -> Iterator[Notice]:
    """Yield a notice for each note behind the receiver's cursor, and then move the cursor."""
    own = cursor.read(ws, receiver)
    for name, note in refusal_notes.read(ws, after=own.note or own.since):
        message = Message(
            "held",
            ws.config.model.name,
            note.at,
            where(ws),
            reason=note.reason,
            by=note.by,
            file=note.what,
        )
        reason = f"{note.what}: {note.reason}"
        facts = asdict(HistoryEvent(note.at, "quarantined", reason=reason, by=note.by))
        facts["folder"] = note.folder
        identity = f"{ws.root} {name}"
        yield Notice(note.at, (message,), (Event(EVENT_NAMES["held"], identity, facts),))
        cursor.write(ws, receiver, replace(own, note=name))
