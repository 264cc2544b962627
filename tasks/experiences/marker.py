"""The marker of what is being added: a retraining leaves it alone, the next ingest finishes it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from perdure.config import Workspace
from perdure.errors import Corrupt
from perdure.tasks.experiences.files import sync, writing

_MARKER = "ingesting.json"


def begin(ws: Workspace, ids: Sequence[str]) -> None:
    """Say which experiences are about to be added, so that nobody learns from them yet."""
    path = ws.state / _MARKER
    with writing(ws, path) as part:
        part.write_text(json.dumps({"adding": list(ids)}), encoding="utf-8")


def done(ws: Workspace) -> None:
    """Say that what was being added is recorded."""
    (ws.state / _MARKER).unlink(missing_ok=True)
    sync(ws.state)


def unfinished(ws: Workspace) -> tuple[str, ...] | None:
    """What an ingest is adding, or was when it was cut short; None: nothing.

    An id may or may not have its file yet. An empty tuple: something but experiences.

    Raises:
        Corrupt: The marker cannot be read.
    """
    path = ws.state / _MARKER
    try:
        return tuple(map(str, json.loads(path.read_text(encoding="utf-8"))["adding"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Corrupt(f"{path} cannot be read: {error}", hint="perdure ingest again") from error
