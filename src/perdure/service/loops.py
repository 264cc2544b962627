"""What a program that runs for months is made of: loops that outlive their failures."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from perdure import config
from perdure.backoff import doubled
from perdure.config import CONFIG_NAME, Workspace
from perdure.errors import PerdureError

logger = logging.getLogger("perdure")

LONGEST_PAUSE_S = 15.0
"""After a failure; what was missed meanwhile is seen when it goes on."""


class Settings:
    """The workspace as it is configured now. While `perdure.toml` is broken, as it was before.

    Args:
        root: The workspace.

    Raises:
        PerdureError: It cannot be read the first time.
    """

    def __init__(self, root: Path) -> None:
        self._file = root / CONFIG_NAME
        self._lock = threading.Lock()
        self._stamp = self._now()
        self._workspace = config.read(root)

    def get(self) -> Workspace:
        """The workspace; reads the file again if it has changed."""
        with self._lock:
            stamp = self._now()
            if stamp != self._stamp:
                self._stamp = stamp
                self._read_again()
            return self._workspace

    def _read_again(self) -> None:
        try:
            self._workspace = config.read(self._workspace.root)
        except PerdureError as error:
            logger.warning("Going on with the configuration as it was before. %s", error)
        else:
            logger.info("%s has changed, and was read again.", self._file)

    def _now(self) -> tuple[int, int, int] | None:
        try:
            facts = self._file.stat()
        except OSError:
            return None
        return facts.st_ino, facts.st_size, facts.st_mtime_ns


def run_command(ws: Workspace, command: str, stopped: threading.Event) -> int:
    """Run a command of Perdure in a process of its own, whose memory goes with it.

    Args:
        ws: Its workspace.
        command: As in `ingest`.
        stopped: Ends it, when set.

    Returns:
        Its exit code.
    """
    program = [sys.executable, "-P", "-m", "perdure", command, "--workspace", str(ws.root)]
    process = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        if stopped.wait(0.2):
            process.terminate()
            process.wait()
    return process.returncode


class Loop(threading.Thread):
    """Does one thing again and again, until it is stopped; a failure is logged once.

    Args:
        name: What it does, as the log says it: `the reconciliation`.
        step: Does it once, and returns in how many seconds to do it again.
        rest_s: The shortest pause, also when woken.
    """

    def __init__(self, name: str, step: Callable[[], float], rest_s: float = 0.05) -> None:
        super().__init__(name=name, daemon=True)
        self.stopped = threading.Event()
        self._step = step
        self._rest_s = rest_s
        self._woken = threading.Event()

    def wake(self) -> None:
        """Do it now."""
        self._woken.set()

    def stop(self) -> None:
        """Do not do it again."""
        self.stopped.set()
        self._woken.set()

    def run(self) -> None:
        """The thread."""
        failures = 0
        failed: type[BaseException] | None = None
        while not self.stopped.is_set():
            self._woken.clear()
            if self.stopped.is_set():
                return
            try:
                pause = self._step()
            except (Exception, SystemExit) as error:  # which would end this thread alone
                if type(error) is not failed:
                    unexpected = not isinstance(error, (PerdureError, OSError))
                    logger.warning(
                        "%s failed, and is tried again: %s", self.name, error, exc_info=unexpected
                    )
                failures, failed = failures + 1, type(error)
                pause = doubled(1.0, failures, LONGEST_PAUSE_S)
                self.stopped.wait(min(pause, 1.0))  # however often it is woken
            else:
                if failures:
                    logger.info("%s goes on.", self.name)
                failures, failed = 0, None
            self.stopped.wait(self._rest_s)
            self._woken.wait(pause)
