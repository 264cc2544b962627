"""The watcher of a workspace: sees new data, and starts the retraining that learns it.

    python -P -m perdure.service.watch

Watches the workspace that `PERDURE_WORKSPACE` names, with the server that `PREFECT_API_URL` names,
until its standard input ends. Each of its parts goes on when another fails, and when Prefect or
MLflow is away.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from perdure import parent
from perdure.config import Workspace
from perdure.errors import PerdureError
from perdure.quick_exit import quick_exit
from perdure.service import mlflow_moves, sources
from perdure.service.arrivals import Arrivals
from perdure.service.loops import Loop, Settings
from perdure.service.remote import Remote
from perdure.service.retraining import SOON_S, TICK_S, Retraining
from perdure.workspace import root_of

if TYPE_CHECKING:
    from perdure.orchestration.events import Heard

logger = logging.getLogger("perdure")


class Watcher:
    """All parts, each a thread of its own: one that hangs holds up no other.

    Args:
        root: The workspace.

    Raises:
        PerdureError: Its configuration cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self._settings = Settings(root)
        self._stopped = threading.Event()
        self._folders: dict[str, Loop] = {}
        self._heard: dict[str, Heard] = {}
        """The events of each model, by its resource, at the last look."""
        arrivals = Arrivals(self._settings.get, lambda: self._starting.wake())
        remote = Remote(self._settings.get)
        retraining = Retraining(self._settings.get, arrivals, remote, self._stopped)
        self._starting = Loop("Starting retrainings", retraining.look)
        self._loops = [
            self._starting,
            Loop("Watching the inbox", lambda: arrivals.watch(self._stopped)),
            Loop("The list of folders", self._follow),
            Loop("Listening to events of others", self._hear),
            Loop("The git remote", remote.look),
            Loop("Dead runs", lambda: _end_dead_runs(self._settings.get())),
            Loop("Notices", lambda: _send_notices(self._settings.get())),
            Loop("Forms on Prefect's page", lambda: _write_forms(self._settings.get())),
            Loop(
                "Moves in MLflow",
                lambda: mlflow_moves.record(self._settings.get(), self._stopped),
            ),
        ]

    def start(self) -> None:
        """Start watching."""
        sources.clear(self._settings.get())
        for loop in self._loops:
            loop.start()

    def stop(self, wait_s: float = 1.0) -> None:
        """Stop watching; what does not answer is left behind."""
        deadline = time.monotonic() + wait_s
        self._stopped.set()
        every = [*self._loops, *self._folders.values()]
        for loop in every:
            loop.stop()
        for loop in every:
            loop.join(max(0.0, deadline - time.monotonic()))

    def _follow(self) -> float:
        """Keep one loop for each folder that is configured: one that hangs holds up no other."""
        urls = set(self._settings.get().config.trigger.folders)
        for url in self._folders.keys() - urls:
            self._folders.pop(url).stop()
        for url in urls - self._folders.keys():
            folder = sources.FolderElsewhere(self._settings.get, url)
            loop = self._folders[url] = Loop(folder.shown, folder.poll)
            loop.start()
        return SOON_S

    def _hear(self) -> float:
        """Look at the folders when an event says that data has arrived."""
        from perdure.orchestration import api, events, names

        ws = self._settings.get()
        if ws.config.trigger.folders:
            resource = names.resource(ws.config.model.name)
            with api.client(ws, retries=0) as client:
                heard = events.heard(client, "perdure.data.arrived", resource)
            if self._heard.get(resource, heard) != heard:
                for loop in list(self._folders.values()):
                    loop.wake()
            self._heard[resource] = heard
        return TICK_S


def _end_dead_runs(ws: Workspace) -> float:
    from perdure.orchestration import api
    from perdure.service import dead_runs

    with api.client(ws, retries=0) as client:
        dead_runs.end(ws, client, datetime.now(UTC))
    return TICK_S


def _send_notices(ws: Workspace) -> float:
    from perdure.service.notify import dispatch

    dispatch.send_pending(ws)
    return TICK_S


def _write_forms(ws: Workspace) -> float:
    from perdure.orchestration import approvals, rollback_form

    approvals.settle(ws)
    rollback_form.refresh(ws)
    return TICK_S


def main() -> None:
    """Watch until standard input ends, or the process is ended."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    for name in ("httpx", "watchfiles"):  # they name every request, every change
        logging.getLogger(name).setLevel(logging.WARNING)
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    parent.end_with(stop.set)
    watcher = _opened(root_of("."), stop)
    if watcher is not None:
        watcher.start()
        logger.info("Watching %s.", root_of("."))
        stop.wait()
        watcher.stop()
    quick_exit(0)


def _opened(root: Path, stop: threading.Event) -> Watcher | None:
    """The watcher, once the configuration can be read; None: it was stopped before."""
    logged = ""
    while not stop.is_set():
        try:
            return Watcher(root)
        except PerdureError as error:
            if str(error) != logged:
                logged = str(error)
                logger.warning("Waiting until the configuration is mended. %s", error)
            stop.wait(SOON_S)
    return None


if __name__ == "__main__":
    main()
