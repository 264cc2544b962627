"""The watcher of a workspace: tells Prefect of new data, and sees to it that it is learned.

    python -P -m perdure.flows.service.watch

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
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from perdure import parent
from perdure.errors import PerdureError
from perdure.flows.service import arrivals, sources, warm
from perdure.flows.service.loops import Loop, Settings
from perdure.flows.service.mlflow_moves import Moves
from perdure.flows.service.reconciliation import SOON_S, TICK_S, Reconciliation
from perdure.flows.service.remote import Remote
from perdure.flows.workspace import root_of

if TYPE_CHECKING:
    from perdure.flows.service.events import Heard

logger = logging.getLogger("perdure")


class Watcher:
    """All parts, each a thread of its own.

    Args:
        root: The workspace.

    Raises:
        PerdureError: Its configuration cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self._settings = Settings(root)
        self._arrivals = arrivals.Arrivals(self._settings.get, self._tell)
        self._remote = Remote(self._settings.get)
        self._folders: dict[str, Loop] = {}
        self._looking = Loop("The inbox", self._arrivals.look, rest_s=0.2)
        reconciliation = Reconciliation(self._settings.get, self._arrivals, self._remote)
        self._reconciling = Loop("The reconciliation", reconciliation.look)
        reconciliation.stopped = self._reconciling.stopped
        moves = Moves(self._settings.get)
        recording = Loop("Moves in MLflow", moves.look)
        moves.stopped = recording.stopped
        self._loops = [
            self._looking,
            Loop("Listening to the inbox", self._listen),
            Loop("The list of folders", self._follow),
            Loop("Listening to events of others", self._hearing_step()),
            Loop("The git remote", self._remote.look),
            self._reconciling,
            Loop("Ending zombies", self._sweeping_step()),
            Loop("The herald", self._herald_step()),
            Loop("Approvals", self._approvals_step()),
            recording,
        ]

    def start(self) -> None:
        """Start watching."""
        sources.clear(self._settings.get())
        for loop in self._loops:
            loop.start()

    def stop(self, wait_s: float = 1.0) -> None:
        """Stop watching; what does not answer is left behind."""
        deadline = time.monotonic() + wait_s
        every = [*self._loops, *self._folders.values()]
        for loop in every:
            loop.stop()
        for loop in every:
            loop.join(max(0.0, deadline - time.monotonic()))

    def _listen(self) -> float:
        arrivals.listen(self._settings.get, self._looking.wake, self._loops[1].stopped)
        return 0.0

    def _tell(self, files: int) -> None:
        """Send the event; its automation starts the run, and if not, the reconciliation."""
        from perdure.flows.service import events

        ws = self._settings.get()
        logger.info("%d new in the inbox.", files)
        events.emit("perdure.data.arrived", ws, {"files": files, "source": "inbox"})
        self._reconciling.wake()

    def _follow(self) -> float:
        """One loop for each folder that is configured: one that hangs holds up no other."""
        urls = set(self._settings.get().config.trigger.folders)
        for url in self._folders.keys() - urls:
            self._folders.pop(url).stop()
        for url in urls - self._folders.keys():
            folder = sources.FolderElsewhere(self._settings.get, url)
            loop = self._folders[url] = Loop(folder.shown, folder.poll)
            loop.start()
        return SOON_S

    def _hearing_step(self) -> Callable[[], float]:
        """Look at the folders when somebody says that data has arrived."""
        before: dict[str, Heard] = {}

        def step() -> float:
            from perdure.flows.service import api, events, names

            ws = self._settings.get()
            if not ws.config.trigger.folders:
                return TICK_S
            resource = names.resource(ws.config.model.name)
            with api.client(ws, retries=0) as client:
                heard = events.heard(client, "perdure.data.arrived", resource)
            if before.get(resource, heard) != heard:
                for loop in list(self._folders.values()):
                    loop.wake()
            before[resource] = heard
            return TICK_S

        return step

    def _sweeping_step(self) -> Callable[[], float]:
        from perdure.flows.service.housekeeping import Housekeeping

        housekeeping = Housekeeping()

        def step() -> float:
            from perdure.flows.service import api

            ws = self._settings.get()
            with api.client(ws, retries=0) as client:
                if housekeeping.sweep(ws, client):
                    self._reconciling.wake()
            return TICK_S

        return step

    def _herald_step(self) -> Callable[[], float]:
        def step() -> float:
            from perdure.flows.service import herald

            herald.tell(self._settings.get())
            return TICK_S

        return step

    def _approvals_step(self) -> Callable[[], float]:
        def step() -> float:
            from perdure.flows.service import approvals

            approvals.settle(self._settings.get())
            return TICK_S

        return step


def main() -> None:
    """Watch until standard input ends, or somebody ends the process."""
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
    warm.leave(0)


def _opened(root: Path, stop: threading.Event) -> Watcher | None:
    """The watcher, once the configuration can be read; None: it was stopped before."""
    said = ""
    while not stop.is_set():
        try:
            return Watcher(root)
        except PerdureError as error:
            if str(error) != said:
                said = str(error)
                logger.warning("Waiting until the configuration is mended. %s", error)
            stop.wait(SOON_S)
    return None


if __name__ == "__main__":
    main()
