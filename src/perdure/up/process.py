"""One life of a part: a child process in a session of its own, which ends with its parent.

Its standard input is a pipe that nothing is ever written to. The kernel closes it when this
process ends, however that ends, and every program of a part ends when it does.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from perdure import waiting
from perdure.up.logs import Log


class Process:
    """A started program.

    Args:
        command: The program and its arguments.
        environment: All of its environment.
        folder: Its working directory.
        log: Where its output goes.
        says: Text of the line by which it says that it is ready, if it says so.
        on_end: Called when it has ended.
        on_wait: Called when what it waits for is something else.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        log: Log,
        says: str | None = None,
        on_end: Callable[[], None] = lambda: None,
        on_wait: Callable[[], None] = lambda: None,
    ) -> None:
        self._log = log
        self._says = says
        self._on_end = on_end
        self._on_wait = on_wait
        self.said = threading.Event()
        """It has said that it is ready, or that it cannot be yet for want of something."""
        self.waits: tuple[str, ...] = ()
        """What it lacks, in its own words."""
        self.ended = threading.Event()
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C is for us: we end the parts in order
        )
        self.pid = self._process.pid
        threading.Thread(target=self._read, name=f"read {self.pid}", daemon=True).start()
        # A thread, for Popen.wait with a time limit wakes up twenty times a second.
        threading.Thread(target=self._wait, name=f"wait {self.pid}", daemon=True).start()

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None: it lives."""
        return self._process.returncode

    def terminate(self) -> None:
        """Send it SIGTERM, if it lives."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """Send it SIGKILL, if it lives."""
        with suppress(ProcessLookupError):
            self._process.kill()

    def close(self) -> None:
        """Let its standard input end."""
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def _wait(self) -> None:
        self._process.wait()
        self.close()
        self.ended.set()
        self._on_end()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            while data := os.read(pipe.fileno(), 65536):
                for line in self._log.write(data):
                    self._hear(line)

    def _hear(self, line: str) -> None:
        before, self.waits = self.waits, waiting.heard(line, self.waits)
        if self.waits or (self._says is not None and self._says in line):
            self.said.set()
        if self.waits != before:
            self._on_wait()


def how(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None:
        return "did not end"
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
