"""Starts processes, keeps them going, and ends them: all of them, and no others."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from perdure import running
from perdure.backoff import Backoff
from perdure.running import Running
from perdure.service import process_group
from perdure.service.managed_process import ManagedProcess, Part
from perdure.service.part_log import Log

STOP_SECONDS = 10.0
"""After so long no part may live."""
FORCE_SECONDS = 7.5
"""After so long what is left is killed."""
BURY_SECONDS = 60.0

logger = logging.getLogger("perdure")


class Supervisor:
    """Runs parts until a signal says stop.

    Args:
        parts: What to run.
        record: What is shown of it; its state and its parts are kept up to date in a file.
        state: The folder of the workspace's state: for the record and the logs.
        root: The working directory of the parts.
        backoff: Makes the pauses before a part is started again.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        record: Running,
        state: Path,
        root: Path,
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        self._record = record
        self._state = state
        self._reaper: asyncio.subprocess.Process | None = None
        self._mark = process_group.new_mark(running.folder(state))
        self._parts = {
            part.name: ManagedProcess(
                part,
                {**self._marked(part.name), **part.environment},
                root,
                Log(running.log_path(state, part.name)),
                self._update,
                backoff(),
            )
            for part in parts
        }

    def run(self, ready: Callable[[Running], None]) -> None:
        """Start everything, and keep it going until a signal says stop; a second one: at once.

        Needs the lock of the workspace, and the main thread.

        Args:
            ready: Called once, when everything is.

        Raises:
            PerdureError: A part could not be started; everything has been ended.
            OSError: The record cannot be written; nothing was started.
        """
        running.write(self._state, self._record)
        asyncio.run(self._run(ready))

    async def _run(self, ready: Callable[[Running], None]) -> None:
        parts = self._parts.values()
        tasks = [
            asyncio.create_task(one)
            for one in (
                *(one.keep([self._parts[name] for name in one.part.needs]) for one in parts),
                self._announce(ready),
                self._keep_reaper(),
                self._bury_orphans(),
            )
        ]
        work = asyncio.gather(*tasks)
        self._react_to_signals(work.cancel)
        try:
            with suppress(asyncio.CancelledError):
                await work
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._end()

    def _react_to_signals(self, stop: Callable[[], object]) -> None:
        """Have the first signal stop it, and another one kill everything at once."""
        loop = asyncio.get_running_loop()
        stopping = False

        def react() -> None:
            nonlocal stopping
            loop.run_in_executor(None, self._kill) if stopping else stop()
            stopping = True

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Under nohup the end of the terminal ends nothing.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, react)

    async def _announce(self, ready: Callable[[Running], None]) -> None:
        for one in self._parts.values():
            await one.ready.wait()
        self._update("ready")
        ready(self._record)

    async def _end(self) -> None:
        """End every part, last those that others need, and by force what does not obey."""
        logger.info("Ending everything …")
        self._update("stopping")
        deadline = time.monotonic() + FORCE_SECONDS
        parts = self._parts.values()
        needed = {name for one in parts for name in one.part.needs}
        for last in (False, True):
            group = [one for one in parts if (one.part.name in needed) is last]
            await asyncio.gather(*(one.end(deadline) for one in group))
        await asyncio.to_thread(self._kill)
        if self._reaper is not None:  # or asyncio logs that it was never awaited
            await self._reaper.wait()

    def _kill(self) -> None:
        ours = process_group.of_mark(self._mark)
        if left := process_group.end(ours, 0.0, STOP_SECONDS):
            logger.error("Still alive: %s", ", ".join(str(one.pid) for one in left))

    async def _keep_reaper(self) -> None:
        """Keep the process that ends everything where this one is killed."""
        while True:
            self._reaper = await asyncio.create_subprocess_exec(
                *module(process_group.__name__, self._mark),
                stdin=subprocess.PIPE,
                env=self._marked("reaper"),
                start_new_session=True,
            )
            await self._reaper.wait()
            await asyncio.sleep(1.0)

    async def _bury_orphans(self) -> None:
        """As process 1 of a container, wait for the dead whose parents have ended."""
        while os.getpid() == 1:
            await asyncio.sleep(BURY_SECONDS)
            ours = {one.pid for one in (self._reaper, *self._parts.values()) if one is not None}
            for child in psutil.Process().children():
                with suppress(psutil.Error, ChildProcessError):
                    if child.pid not in ours and child.status() == psutil.STATUS_ZOMBIE:
                        os.waitpid(child.pid, os.WNOHANG)

    def _marked(self, part: str) -> dict[str, str]:
        return {**os.environ, process_group.MARK: self._mark, process_group.PART: part}

    def _update(self, state: running.State | None = None) -> None:
        self._record = dataclasses.replace(
            self._record,
            state=state or self._record.state,
            parts=tuple(one.record for one in self._parts.values()),
        )
        with suppress(OSError):  # a full disk must not end what runs
            running.write(self._state, self._record)


def module(name: str, *arguments: str) -> tuple[str, ...]:
    """The command of one of our programs; -P: nothing is imported from the working directory."""
    return (sys.executable, "-P", "-m", name, *arguments)
