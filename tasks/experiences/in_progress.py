"""The marker of what is being added: a retraining leaves it alone, the next ingest finishes it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from perdure import atomic
from perdure.config import Workspace
from perdure.errors import Corrupt
from perdure.tasks.experiences.files import writing

_MARKER = "ingesting.json"


def begin(ws: Workspace, ids: Sequence[str], replacing: Mapping[str, str] | None = None) -> None:
    """Note which experiences are about to be added, so that no training uses them yet.

    Args:
        ws: The workspace.
        ids: Of the experiences.
        replacing: By its id, what takes an experience's place; an empty text: nothing does. None:
            as it was noted before.
    """
    path = ws.state / _MARKER
    pairs = replaced(ws) if replacing is None else replacing
    with writing(ws, path) as part:
        value = {"adding": list(ids), "replacing": dict(pairs)}
        part.write_text(json.dumps(value), encoding="utf-8")


def done(ws: Workspace) -> None:
    """Say that what was being added is recorded."""
    (ws.state / _MARKER).unlink(missing_ok=True)
    atomic.sync(ws.state)


def unfinished(ws: Workspace) -> tuple[str, ...] | None:
    """What an ingest is adding, or was when it was cut short; None: nothing.

    An id may or may not have its file yet. An empty tuple: something but experiences.

    Raises:
        Corrupt: The marker cannot be read.
    """
    found = _read(ws)
    return None if found is None else tuple(map(str, found["adding"]))


def replaced(ws: Workspace) -> dict[str, str]:
    """Which experiences are being replaced, or were when it was cut short, and by which.

    Raises:
        Corrupt: The marker cannot be read.
    """
    found = (_read(ws) or {}).get("replacing", {})
    return {str(old): str(new) for old, new in found.items()}


def _read(ws: Workspace) -> dict[str, Any] | None:
    path = ws.state / _MARKER
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value["adding"], list) or not isinstance(
            value.get("replacing", {}), dict
        ):
            raise ValueError("it is not what an ingest writes")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Corrupt(f"{path} cannot be read: {error}", hint="perdure ingest again") from error
    return dict(value)
