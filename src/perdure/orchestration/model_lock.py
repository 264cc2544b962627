"""The lock of a model: on this machine always, and on all machines where they share the registry.

On one machine it is an flock on a file of the workspace (`tasks/locks.py`), and on one beside a
SQLite file that lies outside of it, for other clones may use that. Where the registry is one that
several machines use, it is also the one slot of a global concurrency limit at Prefect, so
that two never run at once for a model, wherever they were started. Where Prefect does not answer,
the machine's own lock has to do: a rollback must not wait for Prefect. The registry still refuses
a change that was decided on aliases which have moved since.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from perdure.config import Workspace
from perdure.orchestration import configured_server, model_slot, temporary_server
from perdure.tasks import locks
from perdure.tasks.registry.client import sqlite_path, tracking_uri

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

_OF_ONE_MACHINE = ("sqlite:", "file:", "/", ".")


@contextmanager
def hold(ws: Workspace, purpose: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of the workspace's model for the length of the context.

    Args:
        ws: The workspace.
        purpose: For the error of a process that waits: `retrain`, `rollback` …
        wait_s: How long to wait for it, in seconds; 0 asks once.

    Raises:
        LockHeld: Another process holds it; the message says which, since when and what for.
        Fault: The lock file cannot be made.
    """
    deadline = time.monotonic() + wait_s
    with ExitStack() as held:
        held.enter_context(locks.hold(ws, "model", purpose, wait_s=wait_s))
        if (database := _database(ws)) is not None:
            left_s = max(0.0, deadline - time.monotonic())
            model = ws.config.model.name
            held.enter_context(locks.hold_beside(database, model, purpose, wait_s=left_s))
        url = _server(ws)
        if url is None:
            yield
            return
        with model_slot.hold(url, ws, purpose, deadline):
            yield


def is_shared(ws: Workspace) -> bool:
    """Whether other machines may use the registry: it is a server, or a database on one."""
    return "://" in ws.tracking_uri and not ws.tracking_uri.startswith(_OF_ONE_MACHINE)


def is_taken(ws: Workspace, client: SyncPrefectClient) -> bool:
    """Whether the slot of the workspace's model at Prefect is taken, by whichever machine.

    Raises:
        httpx.HTTPError: Prefect does not answer.
    """
    from prefect.exceptions import ObjectNotFound

    if not is_shared(ws):
        return False
    try:
        name = model_slot.name_of(ws.config.model.name)
        return bool(client.read_global_concurrency_limit_by_name(name).active_slots)
    except ObjectNotFound:
        return False


def _database(ws: Workspace) -> Path | None:
    """The SQLite file of a registry that other workspaces of this machine may use."""
    path = sqlite_path(tracking_uri(ws))
    return None if path is None or path.is_relative_to(ws.state) else path


def _server(ws: Workspace) -> str | None:
    """The API where the machines share the lock; None: there is none, or no need."""
    if not is_shared(ws):
        return None
    url = configured_server.configured(ws.root)
    if url is None or temporary_server.serves(url):
        return None
    otherwise = "the model is locked on this machine alone"
    return url if configured_server.answers(url, otherwise, logging.INFO) else None
