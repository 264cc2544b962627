"""Send what is new to each receiver: at least once, in order, tried again at each call.

What is sent is read from the registry's history, from Prefect's runs, and from what ingests noted,
so it does not matter who did it, or where. There is no queue: each receiver has a cursor, which
moves when it has taken a notice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from filelock import FileLock, Timeout

from perdure.config import Workspace
from perdure.errors import PerdureError, UsageError
from perdure.orchestration import api
from perdure.service.notify import crashed_runs, cursor, history, refused_files
from perdure.service.notify.receivers import PrefectEvents, Receiver, configured

logger = logging.getLogger("perdure")

GIVEN_UP = timedelta(days=1)
"""What could not be sent within this time is not sent."""
LOG_AGAIN_S = 3600.0
"""A repeated fault is logged once in so long."""
_logged: dict[str, float] = {}


def send_pending(ws: Workspace) -> int:
    """Send what is new. What goes wrong is logged, and the next call tries again.

    The first call for a receiver only notes where things stand. Of several calls at once on one
    machine, one sends.

    Returns:
        How many messages and events were sent.
    """
    receivers: list[Receiver | PrefectEvents] = [*configured(ws), *_prefect(ws)]
    if not receivers:
        return 0
    try:
        cursor.folder(ws).mkdir(parents=True, exist_ok=True)
        with FileLock(cursor.folder(ws) / "lock", timeout=0):
            return sum(_send_pending_to(receiver, ws) for receiver in receivers)
    except Timeout:
        return 0
    except OSError as error:  # such as a disk that is full
        _log_once(f"Notices are sent later: {error}")
        return 0


def _prefect(ws: Workspace) -> list[PrefectEvents]:
    try:
        api.address(ws)
    except UsageError:
        return []
    return [PrefectEvents(ws)]


def _send_pending_to(receiver: Receiver | PrefectEvents, ws: Workspace) -> int:
    sources = [history.pending, refused_files.pending]
    if _prefect(ws):
        sources.append(crashed_runs.pending)
    sent = 0
    for pending in sources:
        with _logging_faults(receiver.title):
            for notice in pending(ws, receiver.key):  # which moves the cursor after each
                too_old = datetime.now(UTC) - datetime.fromisoformat(notice.at) > GIVEN_UP
                if not too_old:
                    sent += receiver.send(notice)
                elif receiver.wants(notice):
                    logger.error("Given up: %s gets no notice of %s", receiver.title, notice.at)
    return sent


@contextmanager
def _logging_faults(receiver: str) -> Iterator[None]:
    """Log what goes wrong, and go on with the next source or receiver."""
    try:
        yield
    except PerdureError as error:
        _log_once(f"Notices to {receiver} are sent later: {error}")
    except Exception as error:  # noqa: BLE001 - whatever it is, the other receivers get theirs
        text = f"{type(error).__name__} {error}"
        _log_once(f"Notices to {receiver} are sent later: {text}", with_trace=True)


def _log_once(text: str, *, with_trace: bool = False) -> None:
    now = time.monotonic()
    if now - _logged.get(text, -LOG_AGAIN_S) >= LOG_AGAIN_S:
        _logged[text] = now
        logger.warning("%s", text, exc_info=with_trace)
