"""How far a receiver was notified: a small file for each, replaced as a whole."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from perdure import atomic, running
from perdure.config import Workspace

logger = logging.getLogger("perdure")


@dataclass(frozen=True)
class Cursor:
    """What one receiver was sent."""

    since: str
    """When notices to it began, UTC, ISO 8601: it is sent nothing from before."""
    registry: str | None = None
    """Which registry `events` counts in; None: none was asked yet."""
    events: int = 0
    """So many events of the registry's history need not be sent to it any more."""
    note: str = ""
    """The last note of a refused file that need not be sent to it any more."""


def folder(ws: Workspace) -> Path:
    """Return the folder of the cursors."""
    return running.folder(ws.state) / "notified"


def read(ws: Workspace, receiver: str) -> Cursor:
    """Read the cursor of a receiver; the first time, it begins now.

    Args:
        ws: The workspace.
        receiver: The receiver's key.
    """
    path = folder(ws) / f"{receiver}.json"
    try:
        return Cursor(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        pass
    except (ValueError, TypeError) as error:
        logger.error("%s cannot be read (%s): its receiver is notified from now on", path, error)
    begun = Cursor(datetime.now(UTC).isoformat(timespec="microseconds"))
    write(ws, receiver, begun)
    return begun


def write(ws: Workspace, receiver: str, cursor: Cursor) -> None:
    """Replace the cursor of a receiver."""
    atomic.write_text(folder(ws) / f"{receiver}.json", json.dumps(asdict(cursor)))
