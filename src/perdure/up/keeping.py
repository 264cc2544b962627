"""One part, kept going: started when what it needs is ready, and again whenever it dies."""

from __future__ import annotations

import http.client
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from perdure import running
from perdure.errors import Fault, PerdureError, UsageError
from perdure.pauses import Pauses
from perdure.running import PartState
from perdure.up import kin
from perdure.up.logs import Log
from perdure.up.parts import Part
from perdure.up.process import Process, how
from perdure.up.why import failure

START_SECONDS = 300.0
"""How long a start may take until it is ready."""
SLOW_SECONDS = 20.0
"""A start that takes longer is told of, with the load of the machine."""
TRIES = 3
"""So often a part may die before it was ever ready."""
ASK_EVERY_SECONDS = 30.0
ASK_WAITS_SECONDS = 10.0
UNANSWERED = 10
"""A part that lives but has left so many questions in a row unanswered is started again."""
WRONG_USE = UsageError.exit_code

logger = logging.getLogger("perdure")


class Keeping:
    """Keeps one part going, in a thread of its own.

    Args:
        part: The part.
        environment: All of its environment, with the mark.
        root: Its working directory.
        log: Where its output goes.
        changed: Called when `state`, `pid`, `restarts` or `failure` is another one.
        pauses: Before it is started again.
    """

    def __init__(
        self,
        part: Part,
        environment: Mapping[str, str],
        root: Path,
        log: Log,
        changed: Callable[[], None],
        pauses: Pauses | None = None,
    ) -> None:
        self.part = part
        self.log = log
        self.state: PartState = "waiting"
        self.restarts = 0
        self.failure: PerdureError | None = None
        """Why it could not be started at all; nobody tries any more."""
        self.was_ready = threading.Event()
        self.ended = threading.Event()
        """It was stopped, and its process is gone."""
        self._environment = dict(environment)
        self._root = root
        self._changed = changed
        self._pauses = pauses or Pauses()
        self._stopping = threading.Event()
        self._process: Process | None = None
        self._lock = threading.Lock()
        self._first: list[Keeping] = []

    @property
    def pid(self) -> int | None:
        """Of its process; None: there is none now."""
        process = self._process
        return None if process is None or process.ended.is_set() else process.pid

    @property
    def record(self) -> running.Part:
        """As it is shown."""
        path = str(self.log.path)
        return running.Part(self.part.name, self.state, self.pid, self.restarts, path, self._waits)

    @property
    def _waits(self) -> str | None:
        """What its process lacks; None: nothing, or there is no process."""
        process = self._process
        if process is None or process.ended.is_set():
            return None
        return "; ".join(process.waits) or None

    def start(self, first: list[Keeping]) -> None:
        """Begin to keep it, once the parts that come first have been ready."""
        self._first = first
        threading.Thread(target=self._keep, name=f"keep {self.part.name}", daemon=True).start()

    def stop(self) -> None:
        """Start it no more, and send it SIGTERM."""
        self._stopping.set()
        with self._lock:
            if self._process is not None:
                self._process.terminate()

    def close(self) -> None:
        """Let its standard input end: the second way to tell a program to end."""
        with self._lock:
            if self._process is not None:
                self._process.close()

    def _keep(self) -> None:
        try:
            for one in self._first:
                while not one.was_ready.wait(0.1):
                    if self._stopping.is_set():
                        return
            died = 0
            while not self._stopping.is_set():
                code, lived_s = self._live()
                if self._stopping.is_set() or (self.part.once and code == 0):
                    return
                died += 1
                if self._hopeless(code, died):
                    return
                self._pause(code, lived_s)
        except Exception as error:  # noqa: BLE001 - a thread's fault must end the whole, aloud
            self.failure = Fault(f"keeping {self.part.name} failed: {error!r}")
        finally:
            self._to("done" if self.part.once and self.was_ready.is_set() else "stopped")
            self.ended.set()
            self._changed()

    def _live(self) -> tuple[int | None, float]:
        """One life, from its start until nothing of it is left; its exit code, and seconds."""
        self._to("starting")
        self.log.forget()
        born = time.monotonic()
        try:
            process = self._begin()
        except OSError as error:
            self.log.note(f"cannot be started: {error}")
            self.log.remember(f"{self.part.command[0]}: {error}")
            return None, 0.0
        if process is None:
            return None, 0.0
        self.log.note(f"started as process {process.pid}")
        self._changed()
        if self._becomes_ready(process):
            self._to("running")
            if not self.was_ready.is_set() or self.restarts:
                logger.info("%s is ready, after %.1f s", self.part.name, time.monotonic() - born)
            self.was_ready.set()
            self._watch(process)
        process.ended.wait()
        self.log.note(f"process {process.pid} {how(process.code)}")
        # What it had started must not go on beside what its successor starts.
        kin.end(kin.of_part(self._environment[kin.MARK], self.part.name), 1.0, 10.0)
        if self.part.once and process.code == 0:
            logger.info("%s is done, after %.1f s", self.part.name, time.monotonic() - born)
            self.was_ready.set()
        return process.code, time.monotonic() - born

    def _begin(self) -> Process | None:
        with self._lock:
            if self._stopping.is_set():
                return None
            command = self.part.command
            self._process = Process(
                command,
                self._environment,
                self._root,
                self.log,
                self.part.says,
                on_wait=self._tell_waits,
            )
            return self._process

    def _tell_waits(self) -> None:
        if (why := self._waits) is not None:
            logger.warning("%s waits: %s", self.part.name, why)
        self._changed()

    def _becomes_ready(self, process: Process) -> bool:
        """Wait until it is ready; False: it ended, or is taking too long and was killed."""
        begun = time.monotonic()
        told = False
        while not process.ended.is_set():
            if not self.part.once and self._is_ready(process):
                return True
            passed = time.monotonic() - begun
            if passed > SLOW_SECONDS and not told:
                told = True
                busy = f"{os.getloadavg()[0]:.1f} processes want {os.cpu_count()} cores"
                words = "%s is not ready after %.0f s (%s) → perdure logs %s"
                logger.warning(words, self.part.name, passed, busy, self.part.name)
            if passed > START_SECONDS:
                self.log.remember(f"it was not ready in {START_SECONDS:.0f} s")
                process.kill()
                return False
            process.ended.wait(0.1)
        return False

    def _is_ready(self, process: Process) -> bool:
        if self.part.says is not None and not process.said.is_set():
            return False
        return self.part.address is None or answers(self.part.address, 2.0)

    def _watch(self, process: Process) -> None:
        """Until it ends; one that lives but answers nobody for minutes is killed."""
        if self.part.address is None:
            return
        unanswered = 0
        while not process.ended.wait(ASK_EVERY_SECONDS):
            unanswered = 0 if answers(self.part.address, ASK_WAITS_SECONDS) else unanswered + 1
            if unanswered >= UNANSWERED and not self._stopping.is_set():
                self.log.note(f"answers nobody at {self.part.address}; it is started again")
                process.kill()
                return

    def _hopeless(self, code: int | None, died: int) -> bool:
        """Whether it is not tried again, for it has never been ready."""
        if self.was_ready.is_set() or (died < TRIES and not (self.part.once and code == WRONG_USE)):
            return False
        self.failure = failure(self.part, code, self.log)
        return True

    def _pause(self, code: int | None, lived_s: float) -> None:
        pause = self._pauses.after(lived_s)
        self.log.note(f"is started again in {pause:g} s")
        self._to("pausing")
        name = self.part.name
        logger.warning("%s %s; again in %g s → perdure logs %s", name, how(code), pause, name)
        self._stopping.wait(pause)
        self.restarts += 1

    def _to(self, state: PartState) -> None:
        if self.state != state:
            self.state = state
            self._changed()


def answers(address: str, timeout_s: float) -> bool:
    """Whether an address of this machine answers, and well."""
    parts = urlsplit(address)
    # Not urllib, which would ask a proxy if the environment names one.
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port or 80, timeout=timeout_s
    )
    try:
        connection.request("GET", parts.path or "/")
        return 200 <= connection.getresponse().status < 300
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
