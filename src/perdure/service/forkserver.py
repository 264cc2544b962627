"""The processes of flow runs: forks of one process that has imported what they need.

`multiprocessing`'s forkserver belongs to the worker that starts it, preloads in the background, has
one thread, and touches no accelerator; so a fork may do what a new process may. It is started again
where it died. A flow run is a new process until it has preloaded, and where forking without exec is
unsafe, as on macOS.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess, SpawnProcess

import psutil

from perdure.service import job

logger = logging.getLogger("perdure")

FORKS = sys.platform == "linux"

PRELOAD = "perdure.service.preload"

CODE_S = 5.0
"""How long a process that has ended may be without an exit code."""

LOST = 255
"""The exit code of a process whose forkserver died, as `multiprocessing` has it."""


class Run:
    """The process of one flow run."""

    def __init__(self, process: ForkServerProcess | SpawnProcess, forkserver: Forkserver) -> None:
        assert process.pid is not None
        self.pid = process.pid
        self._process = process
        self._forkserver = forkserver
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(process.sentinel, self._note_end)

    def _note_end(self) -> None:
        self._loop.remove_reader(self._process.sentinel)
        self._ended.set()

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._ended.is_set()

    async def wait(self, limit_s: float | None = None) -> bool:
        """Wait until it has ended.

        Returns:
            Whether it has, within the limit.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), limit_s)
        return self.ended

    async def exit_code(self) -> int:
        """Wait until it has ended, and leave nothing of it behind where it did not end well."""
        await self._ended.wait()
        code = await self._forkserver.exit_code(self._process)
        if code != 0:
            self.kill()
        return code

    async def end(self, grace_s: float) -> None:
        """Ask it to end, and kill it where it does not."""
        self.terminate()
        if not await self.wait(grace_s):
            self.kill()
            await self.wait()

    def terminate(self) -> None:
        """Ask it to end, with what it started."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill it and its process group; a young one does not lead its group yet."""
        for send in (os.killpg, os.kill):
            with suppress(ProcessLookupError, PermissionError):
                send(self.pid, signal.SIGKILL)


class Forkserver:
    """Starts the processes of one worker's flow runs."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        """For what `multiprocessing` keeps of all processes, which is not safe for threads."""
        self._preloading: asyncio.Task[None] | None = None

    def preload(self) -> None:
        """Have the forkserver import what runs need, in the background, where it has not yet."""
        if FORKS and self._preloading is None:
            get_context("forkserver").set_forkserver_preload([PRELOAD])
            self._preloading = asyncio.create_task(self._preload())

    async def _preload(self) -> None:
        """Start the forkserver, and wait until it forks: then it has imported everything."""
        process = get_context("forkserver").Process(target=_nothing)
        with suppress(OSError, EOFError):  # it died, and is started again for the next flow run
            await asyncio.to_thread(process.start)
            logger.info("From now on flow runs start as forks.")

    async def start(self, environment: Mapping[str, str], folder: str) -> Run:
        """Start a flow run.

        Args:
            environment: All of its environment.
            folder: Its working directory.
        """
        async with self._lock:
            try:
                process = await asyncio.to_thread(self._started, environment, folder)
            except (OSError, EOFError):  # the forkserver died in between: once more without
                self._preloading = None
                process = await asyncio.to_thread(self._started, environment, folder)
            return Run(process, self)

    async def exit_code(self, process: ForkServerProcess | SpawnProcess) -> int:
        """How a process that has ended did so; where the forkserver died, it preloads again."""
        deadline = time.monotonic() + CODE_S
        while True:
            async with self._lock:
                code = process.exitcode
            if code is not None or time.monotonic() > deadline:
                break
            # A new process closes its files, by which its end is seen, before it has a code.
            await asyncio.sleep(0.02)
        if code in (LOST, None):
            self._preloading = None
            return LOST
        return code

    def _started(
        self, environment: Mapping[str, str], folder: str
    ) -> ForkServerProcess | SpawnProcess:
        warm = self._preloading is not None and self._preloading.done()
        context = get_context("forkserver") if warm else get_context("spawn")
        process = context.Process(target=job.run, args=(dict(environment), folder))
        process.start()
        return process

    async def end(self) -> None:
        """End the forkserver, also one that is only now being started; the flow runs have ended."""
        while True:
            for one in psutil.Process().children():
                with suppress(psutil.Error):
                    one.terminate()
            # Its thread waits for the forkserver, and this process waits for its threads.
            if self._preloading is None or self._preloading.done():
                return
            await asyncio.sleep(0.05)


def _nothing() -> None:
    """The body of a process that shows that the forkserver forks."""
