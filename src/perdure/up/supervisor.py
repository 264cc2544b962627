"""Starts the parts of a plan, keeps them going, and ends them: all of them, and nobody else."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import FrameType
from typing import Literal

import psutil

from perdure import running
from perdure.pauses import Pauses
from perdure.running import Running
from perdure.up import kin
from perdure.up.keeping import Keeping
from perdure.up.logs import Log
from perdure.up.parts import Plan, module
from perdure.up.process import Process

STOP_SECONDS = 10.0
"""After so long nothing of it may live."""
KILL_SECONDS = 7.5
"""After so long it is killed."""
REAP_SECONDS = 60.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

logger = logging.getLogger("perdure")


class Supervisor:
    """Runs a plan until it is told to stop.

    Args:
        plan: What to run.
        pauses: Makes the pauses before a part is started again.
    """

    def __init__(self, plan: Plan, pauses: Callable[[], Pauses] = Pauses) -> None:
        self._plan = plan
        self._state: Literal["starting", "ready", "stopping"] = "starting"
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._asked_to_stop = 0
        # Woken by a byte: a signal handler may not touch an Event that it has interrupted.
        self._wake_r, self._wake_w = os.pipe()
        for end in (self._wake_r, self._wake_w):
            os.set_blocking(end, False)
        self._mark = kin.new_mark(running.folder(plan.state))
        self._parts = [self._keeping(number, pauses()) for number in range(len(plan.parts))]

    @property
    def now(self) -> Running:
        """What runs."""
        return Running(
            pid=os.getpid(),
            host=socket.gethostname(),
            started=self._started,
            state=self._state,
            prefect_api=self._plan.prefect_api,
            prefect_page=self._plan.prefect_page,
            mlflow=self._plan.mlflow,
            parts=tuple(one.record for one in self._parts),
        )

    def run(self, ready: Callable[[Running], None]) -> None:
        """Start everything, say so when it is ready, and keep it going until a signal says stop.

        Needs the lock of the workspace, and the main thread.

        Args:
            ready: Called once, with what runs.

        Raises:
            PerdureError: A part could not be started; everything has been ended.
            OSError: Not even that could be written down that it runs.
        """
        with self._signals():
            running.write(self._plan.state, self.now)
            self._keeper = self._outlives_us()
            try:
                self._begin()
                self._keep_on(ready)
            finally:
                self._stop()
                self._keeper.ended.wait(5.0)
        self._raise()

    def stop(self) -> None:
        """Ask it to stop; a second time: at once."""
        self._asked_to_stop += 1
        self._wake()

    def _outlives_us(self) -> Process:
        """Outlives us where we are killed; see `perdure.up.keeper`."""
        unmarked = {k: v for k, v in os.environ.items() if k not in (kin.MARK, kin.PART)}
        log = Log(running.log_path(self._plan.state, "keeper"))
        command = module("perdure.up.keeper", self._mark)
        return Process(command, unmarked, self._plan.root, log, on_end=self._wake)

    def _keeping(self, number: int, pauses: Pauses) -> Keeping:
        part = self._plan.parts[number]
        environment = {
            **os.environ,
            **self._plan.environment,
            **part.environment,
            kin.MARK: self._mark,
            kin.PART: part.name,
        }
        log = Log(running.log_path(self._plan.state, part.name))
        return Keeping(part, environment, self._plan.root, log, self._wake, pauses)

    def _begin(self) -> None:
        by_name = {one.part.name: one for one in self._parts}
        for one in self._parts:
            one.start([by_name[name] for name in (*one.part.needs, *one.part.after)])

    def _keep_on(self, ready: Callable[[Running], None]) -> None:
        while not self._asked_to_stop and all(one.failure is None for one in self._parts):
            if self._state == "starting" and all(one.was_ready.is_set() for one in self._parts):
                self._state = "ready"
                self._write()
                ready(self.now)
            self._sleep(REAP_SECONDS)
            self._write()
            if self._keeper.ended.is_set():
                self._keeper = self._outlives_us()
            _reap({one.pid for one in self._parts} | {self._keeper.pid})

    def _stop(self) -> None:
        """End every part: last those that others need, and by force what does not obey."""
        start = time.monotonic()
        self._state = "stopping"
        self._write()
        needed = {name for one in self._parts for name in one.part.needs}
        first = [one for one in self._parts if one.part.name not in needed]
        last = [one for one in self._parts if one.part.name in needed]
        self._end(first, start)
        self._end(last, start)
        left = kin.end(kin.of_life(self._mark), 0.0, STOP_SECONDS)
        if left:
            logger.error("Still alive: %s", ", ".join(str(one.pid) for one in left))
            self._keeper.close()
        else:
            self._keeper.kill()  # there is nothing that it would have to end
        for one in self._parts:
            one.ended.wait(1.0)

    def _end(self, parts: list[Keeping], start: float) -> None:
        for one in parts:
            one.stop()
        deadline = time.monotonic() + max((one.part.grace_s for one in parts), default=0.0)
        self._wait(parts, min(deadline, start + KILL_SECONDS))
        slow = [one for one in parts if not one.ended.is_set()]
        for one in slow:
            one.close()
        if slow and time.monotonic() < start + KILL_SECONDS and not self._hurried:
            names = {one.part.name for one in slow}
            kin.end(
                lambda env: env.get(kin.MARK) == self._mark and env.get(kin.PART) in names,
                0.5,
                1.5,
            )

    def _wait(self, parts: list[Keeping], deadline: float) -> None:
        while not self._hurried and time.monotonic() < deadline:
            if all(one.ended.is_set() for one in parts):
                return
            self._sleep(0.1)

    @property
    def _hurried(self) -> bool:
        return self._asked_to_stop > 1

    def _raise(self) -> None:
        for one in self._parts:
            if one.failure is not None:
                raise one.failure

    def _write(self) -> None:
        with suppress(OSError):  # a full disk must not end what runs
            running.write(self._plan.state, self.now)

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._wake_w, b".")

    def _sleep(self, limit_s: float) -> None:
        if select.select([self._wake_r], [], [], limit_s)[0]:
            with suppress(BlockingIOError):
                while os.read(self._wake_r, 1024):
                    pass

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def asked(_number: int, _frame: FrameType | None) -> None:
            self.stop()

        # Under nohup the terminal's end is none of it.
        hangup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        numbers = [one for one in SIGNALS if not (hangup and one == signal.SIGHUP)]
        before = {number: signal.signal(number, asked) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _reap(waited_for: set[int | None]) -> None:
    """As process 1 of a container, bury what nobody else will."""
    if os.getpid() != 1:
        return
    for child in psutil.Process().children():
        with suppress(psutil.Error, ChildProcessError):
            if child.pid not in waited_for and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)
