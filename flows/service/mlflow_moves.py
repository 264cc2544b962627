"""Champion and challenger that a person moves in MLflow: recorded in the history within seconds.

MLflow does not say when an alias was moved, so the time in the history is that of the first
command after it. `perdure up` has one run as soon as it sees the move.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from perdure.config import Workspace
from perdure.flows.service import facts
from perdure.tasks.registry.news import News

logger = logging.getLogger("perdure")

LOOK_S = 5.0
"""How often MLflow is asked where the aliases stand."""
AGAIN_S = 60.0
"""When a move that could not be recorded is tried again."""


class Moves:
    """Looks for moves, and has each recorded.

    Args:
        workspace: Gives the workspace as it is configured now.
        clock: In seconds; never set back.
    """

    def __init__(
        self, workspace: Callable[[], Workspace], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._workspace = workspace
        self._clock = clock
        self._tried: float | None = None
        self.stopped = threading.Event()
        """Set when the watcher ends."""

    def look(self) -> float:
        """Have a move recorded, if there is one.

        Returns:
            In how many seconds to look again.

        Raises:
            Unreachable: MLflow does not answer.
        """
        ws = self._workspace()
        standing = News(ws).standing()
        if standing is None or not standing.moved:
            self._tried = None
        elif not facts.is_held(ws, "model") and self._is_time():
            self._tried = self._clock()
            record(ws, self.stopped)
        return LOOK_S

    def _is_time(self) -> bool:
        return self._tried is None or self._clock() - self._tried >= AGAIN_S


def record(ws: Workspace, stopped: threading.Event) -> None:
    """`perdure status`, which records it, in a process of its own: MLflow would stay in memory."""
    command = [sys.executable, "-P", "-m", "perdure", "status", "--workspace", str(ws.root)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        if stopped.wait(0.2):
            process.terminate()
            process.wait()
