"""Notices of files of which much was refused when they arrived.

The registry's history knows nothing of them. So an ingest leaves a note in the state folder before
it records its data, and whoever sends notices next on this machine takes it: the ingest itself at
its end, or `perdure up`. Killed in between, the note stays, and is sent with the next notices: at
least once. The machine that ingested sends it, so several machines do not send it several times.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from perdure import running
from perdure.config import Workspace
from perdure.errors import UsageError
from perdure.flows.service import api, posting
from perdure.flows.service.notice import Notice, where
from perdure.flows.service.outbox import Outbox
from perdure.records import Event, Ingested

logger = logging.getLogger("perdure")

SHARE = 0.1
"""From this share of a file's refused rows on, a notice goes out."""
MOST = 200
"""Notes that wait; of more the oldest are dropped."""


def note(ws: Workspace, one: Ingested, by: str) -> None:
    """Leave a note of a file of which a tenth or more was refused; otherwise nothing."""
    if one.refused_share < SHARE or not _wanted(ws):
        return
    at = datetime.now(UTC).isoformat(timespec="seconds")
    value = {"at": at, "by": by, "file": one.file, "what": _what(one), "folder": one.folder}
    value["reason"] = one.reasons[0] if one.reasons else None
    folder = _folder(ws)
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(f"{one.file} {one.folder}".encode()).hexdigest()[:16]
    part = folder / f"{name}.part"
    part.write_text(json.dumps(value), encoding="utf-8")
    part.replace(folder / f"{name}.json")
    for old in _notes(ws)[:-MOST]:
        old.unlink(missing_ok=True)


def gather(ws: Workspace, box: Outbox) -> None:
    """Put what was noted into the outbox, one notice for each file."""
    for path in _notes(ws):
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            at, reason, by = str(value["at"]), value["reason"], value["by"]
            notice = Notice(
                "held",
                ws.config.model.name,
                at,
                where(ws.root),
                reason=reason,
                by=by,
                refused=str(value["what"]),
            )
        except (OSError, ValueError, LookupError, TypeError) as error:
            logger.warning("%s cannot be read, and is removed: %s", path, error)
            path.unlink(missing_ok=True)
            continue
        posting.people(ws, box, [notice])
        event = Event(at, "quarantined", None, None, None, f"{value['what']}: {reason}", by)
        identity = f"{ws.root} {path.stem} {at}"
        posting.event(box, "held", identity, asdict(event) | {"folder": value["folder"]})
        box.save()
        path.unlink(missing_ok=True)


def tell(ws: Workspace) -> None:
    """Send what is noted at the end of an ingest, unless `perdure up` does it here."""
    if _notes(ws) and running.read(ws.state) is None:
        from perdure.flows.service import herald  # it imports this module

        herald.tell(ws)


def _what(one: Ingested) -> str:
    if one.outcome == "quarantined":
        rows = f", with {one.refused_rows} rows" if one.refused_rows else ""
        return f"{one.file} was refused whole{rows}"
    total = round(one.refused_rows / one.refused_share)
    share = f"{one.refused_share:.0%}"
    return f"{one.refused_rows} of {total} rows ({share}) of {one.file} were refused"


def _wanted(ws: Workspace) -> bool:
    """Whether anybody receives notices or events."""
    if ws.config.notify:
        return True
    try:
        api.address(ws)
    except UsageError:
        return False
    return True


def _folder(ws: Workspace) -> Path:
    return running.folder(ws.state) / "refused"


def _notes(ws: Workspace) -> list[Path]:
    """The notes that wait, the oldest first."""
    return sorted(_folder(ws).glob("*.json"), key=lambda path: (path.stat().st_mtime, path.name))
