"""The lock of a model: on this machine always, and on all machines where they share the registry.

On one machine it is an flock on a file of the workspace (`tasks/locks.py`). Where the registry is
one that several machines use, it is also the one slot of a global concurrency limit at Prefect, so
that two never run at once for a model, wherever they were started. Where Prefect does not answer,
the machine's own lock has to do: a rollback must not wait for Prefect. The registry still refuses
a change that was decided on aliases which have moved since.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from perdure.config import Workspace
from perdure.flows import model_slot, prefect_server, temporary_server
from perdure.tasks import locks

_OF_ONE_MACHINE = ("sqlite:", "file:", "/", ".")


@contextmanager
def hold(ws: Workspace, purpose: str) -> Iterator[None]:
    """Hold the lock of the workspace's model for the length of the context.

    Args:
        ws: The workspace.
        purpose: What for, as the loser is told: `retrain`, `rollback` …

    Raises:
        LockHeld: Somebody else holds it; the message says who, since when and what for.
        Fault: The lock file cannot be made.
    """
    with locks.hold(ws, "model", purpose):
        url = _server(ws)
        if url is None:
            yield
            return
        with model_slot.hold(url, ws, purpose):
            yield


def is_shared(ws: Workspace) -> bool:
    """Whether other machines may use the registry: it is a server, or a database on one."""
    return "://" in ws.tracking_uri and not ws.tracking_uri.startswith(_OF_ONE_MACHINE)


def _server(ws: Workspace) -> str | None:
    """The API that tells the machines apart; None: there is none, or no need."""
    if not is_shared(ws):
        return None
    url = prefect_server.configured(ws.root)
    if url is None or temporary_server.serves(url):
        return None
    otherwise = "the model is locked on this machine alone"
    return url if prefect_server.answers(url, otherwise, logging.INFO) else None
