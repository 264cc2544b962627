"""Notes of files of which much was refused when they arrived, for what sends notices.

The registry's history knows nothing of such a file. So an ingest leaves a note in the state folder
before it records its data, and what sends notices on this machine reads it
(`service/notify/refused_files.py`). Killed in between, the note stays, and is sent with the next
notices: at least once. The machine that ingested sends it, so several machines do not send it
several times.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from perdure import atomic, running
from perdure.config import Workspace
from perdure.records import Ingested

logger = logging.getLogger("perdure")

SHARE = 0.1
"""From this share of a file's refused rows on, a notice goes out."""
KEPT = 200
"""Notes that are kept; the oldest are removed."""


@dataclass(frozen=True)
class Note:
    """How much of one file was refused."""

    at: str
    """UTC, ISO 8601."""
    by: str
    """Who ingested it."""
    file: str
    what: str
    """How much was refused, in words."""
    folder: str | None
    """Where its quarantine is."""
    reason: str | None


def write(ws: Workspace, one: Ingested, by: str) -> None:
    """Leave a note of a file of which a tenth or more was refused; otherwise nothing.

    Args:
        ws: The workspace.
        one: What became of the file.
        by: Who ingested it.
    """
    if one.refused_share < SHARE:
        return
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    reason = one.reasons[0] if one.reasons else None
    note = Note(at, by, one.file, _what(one), one.folder, reason)
    folder = _folder(ws)
    identity = hashlib.sha256(f"{one.file} {one.folder}".encode()).hexdigest()[:16]
    known = list(folder.glob(f"*_{identity}.json"))
    atomic.write_text(folder / f"{at}_{identity}.json", json.dumps(asdict(note)))
    for old in [*known, *_paths(ws)[:-KEPT]]:
        old.unlink(missing_ok=True)


def read(ws: Workspace, after: str) -> Iterator[tuple[str, Note]]:
    """Yield the notes with their names, the oldest first; remove what cannot be read.

    Args:
        ws: The workspace.
        after: The name of a note, or a time in UTC, ISO 8601, with microseconds.
    """
    for path in _paths(ws):
        try:
            if path.stem > after:
                yield path.stem, Note(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            logger.warning("%s cannot be read, and is removed: %s", path, error)
            path.unlink(missing_ok=True)


def _paths(ws: Workspace) -> list[Path]:
    return sorted(_folder(ws).glob("*.json"))


def _what(one: Ingested) -> str:
    if one.outcome == "quarantined":
        rows = f", with {one.refused_rows} rows" if one.refused_rows else ""
        return f"{one.file} was refused whole{rows}"
    total = round(one.refused_rows / one.refused_share)
    share = f"{one.refused_share:.0%}"
    return f"{one.refused_rows} of {total} rows ({share}) of {one.file} were refused"


def _folder(ws: Workspace) -> Path:
    return running.folder(ws.state) / "refused"
