"""Tell people and Prefect what became of the model: promoted, refused, held, rolled back, crashed.

What is told is read from the registry's history and Prefect's runs, so it does not matter who did
it, or where: a flow run, a command, another machine, or somebody on MLflow's page.
"""

from __future__ import annotations

import functools
import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from filelock import FileLock, Timeout

from perdure.config import Workspace
from perdure.errors import Fault, PerdureError, UsageError
from perdure.flows.service import (
    api,
    crashes,
    events,
    notices,
    outbox,
    posting,
    refusals,
    tidings,
)
from perdure.flows.service.notice import Notice
from perdure.flows.service.outbox import Outbox
from perdure.flows.service.receivers import Receiver

logger = logging.getLogger("perdure")

SAY_AGAIN_S = 3600.0
"""The same trouble is logged once in so long."""
_said: dict[str, float] = {}


def tell(ws: Workspace) -> int:
    """Send what is new, and again what could not be sent before.

    The first time ever it only notes where things stand. It may be called by several at once,
    again and again: one of them does it. What goes wrong is logged, and raised nowhere.

    Returns:
        How many notices and events were sent.
    """
    to_prefect = {posting.PREFECT} if _has_prefect(ws) else set()
    known = to_prefect | {receiver.key for receiver in notices.receivers(ws)}
    if not known:
        return 0
    try:
        outbox.place(ws).parent.mkdir(parents=True, exist_ok=True)
        with FileLock(outbox.place(ws).with_suffix(".lock"), timeout=0):
            box = outbox.read(ws, known)
            with _going_on("the registry"):
                tidings.gather(ws, box)
            with _going_on("refused files"):
                refusals.gather(ws, box)
            if to_prefect:
                with _going_on("Prefect's runs"):
                    crashes.gather(ws, box)
            return _deliver(ws, box)
    except Timeout:
        return 0  # somebody else tells
    except OSError as error:  # a disk that is full: told when there is space
        _say(f"Notices wait: {error}")
        return 0


def _has_prefect(ws: Workspace) -> bool:
    try:
        api.address(ws)
    except UsageError:
        return False
    return True


def _deliver(ws: Workspace, box: Outbox) -> int:
    sent = 0
    for receiver in notices.receivers(ws):
        sent += box.deliver(receiver.key, functools.partial(_send, receiver))
    return sent + box.deliver(posting.PREFECT, functools.partial(_emit, ws))


def _send(receiver: Receiver, value: dict[str, Any]) -> None:
    receiver.send(Notice(**{**value, "experiences": tuple(value["experiences"])}))


def _emit(ws: Workspace, value: dict[str, Any]) -> None:
    name = cast(events.EventName, value["name"])
    if not events.emit(name, ws, value["payload"], id=uuid.UUID(value["id"])):
        raise Fault(f"Prefect did not take the event {name}.")


@contextmanager
def _going_on(what: str) -> Iterator[None]:
    """Log that one source cannot be asked; the others are told all the same."""
    try:
        yield
    except PerdureError as error:
        _say(f"What is new is told later, for {what} cannot be asked now: {error.message}")
    except Exception as error:  # noqa: BLE001 - whatever it is, the rest is told
        said = f"{type(error).__name__} {error}".strip()
        _say(f"What is new is told later, for {what} cannot be read: {said}", with_trace=True)


def _say(text: str, *, with_trace: bool = False) -> None:
    now = time.monotonic()
    for old in [one for one, at in _said.items() if now - at >= SAY_AGAIN_S]:
        del _said[old]
    if text not in _said:
        _said[text] = now
        logger.warning("%s", text, exc_info=with_trace)
