"""A process that is kept going: started when what it needs is ready, and again whenever it dies.

Its standard input is a pipe to which nothing is ever written. The kernel closes it when the
supervisor ends, however that ends, and every part ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from perdure import blocked, disk, running
from perdure.backoff import Backoff
from perdure.errors import Fault, PerdureError, Unreachable, UsageError
from perdure.running import PartState
from perdure.service import process_group
from perdure.service.part_log import Log

TRIES = 3
"""How often a part may die before it was ever ready."""
SLOW_SECONDS = 20.0
"""A start that takes longer is logged, with the load of the machine."""
SILENT_SECONDS = 300.0
"""A part that is not ready, or has not answered, for so long is started again."""
LOOK_SECONDS = 0.1
ASK_EVERY_SECONDS = 30.0
"""Once it is ready."""
ANSWER_SECONDS = 10.0
GONE_SECONDS = 2.0
"""How long a process that was killed may take to end."""
CLOSED = -1
"""In place of a file descriptor."""
SHOWN_LINES = 12
"""Last lines of a part in the message where it could not start."""

logger = logging.getLogger("perdure")


@dataclass(frozen=True)
class Part:
    """A process to be kept going. It is ready when `address` answers and `says` was written."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beside that of the supervisor."""
    needs: tuple[str, ...] = ()
    """Parts that are ready before it is started. It is ended before them."""
    address: str | None = None
    """An address that answers a GET."""
    says: str | None = None
    """Text of a line of its output; a line that says why it waits counts too (`waiting`)."""
    once: bool = False
    """A task: it is ready when it has ended well, and is not started again."""
    grace_s: float = 2.5
    """Seconds from SIGTERM until all that it started is ended, too."""


@dataclass
class ManagedProcess:
    """The process of one part, and what has become of it."""

    part: Part
    environment: Mapping[str, str]
    """All of its environment, with the mark of `process_group`."""
    root: Path
    """Its working directory."""
    log: Log
    changed: Callable[[], None]
    """Called when `record` has changed."""
    backoff: Backoff
    """The pauses before it is started again."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """It has been ready once."""
    state: PartState = "waiting"
    restarts: int = 0
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)
    _stdin: int = field(default=CLOSED, init=False)
    _output: int = field(default=CLOSED, init=False)
    _said: bool = field(default=False, init=False)
    _waits: tuple[str, ...] = field(default=(), init=False)

    @property
    def pid(self) -> int | None:
        """The process id; None: there is no process now."""
        if self._process is None or self._process.returncode is not None:
            return None
        return self._process.pid

    @property
    def record(self) -> running.Part:
        """What `perdure status` shows."""
        waits = "; ".join(self._waits) if self.pid else ""
        path = str(self.log.path)
        name = self.part.name
        return running.Part(name, self.state, self.pid, self.restarts, path, waits or None)

    async def keep(self, needs: Sequence[ManagedProcess]) -> None:
        """Start it once what it needs is ready, and again whenever it dies.

        Raises:
            PerdureError: It could not be started.
        """
        for one in needs:
            await one.ready.wait()
        deaths = 0
        while True:
            born = time.monotonic()
            code = await self._live()
            if self.part.once and code == 0:
                logger.info("%s is done, after %.1f s", self.part.name, time.monotonic() - born)
                self.ready.set()
                return self._to("done")
            deaths += 1
            wrong_use = self.part.once and code == UsageError.exit_code
            if not self.ready.is_set() and (wrong_use or deaths == TRIES):
                raise _start_failure(self.part, code, self.log)
            await self._pause(code, self.backoff.after(time.monotonic() - born))

    async def end(self, deadline: float) -> None:
        """Ask it to end, and end by force what is left of it; it is not started again.

        Args:
            deadline: The time of the monotonic clock at which to use force.
        """
        if self._process is not None and self.pid is not None:
            limit_s = min(self.part.grace_s, deadline - time.monotonic())
            with suppress(TimeoutError, ProcessLookupError):
                self._process.terminate()
                await asyncio.wait_for(self._process.wait(), limit_s)
            if self.pid is not None:
                await self._end_group(0.5)
        if self._process is not None and self._output != CLOSED:
            await self._finish(self._process)
        if self.state != "done":
            self._to("stopped")

    async def _live(self) -> int | None:
        """Start the process, and wait until nothing of it is left.

        Returns:
            Its exit code; None: it could not be started.
        """
        self._said, self._waits = False, ()
        self.log.last.clear()
        self._to("starting")
        try:
            self._process = process = await self._start()
        except OSError as error:
            self.log.add(f"{self.part.command[0]}: {error}\n".encode())
            return None
        self.log.note(f"started as process {process.pid}")
        self.changed()
        await self._watch(process)
        await self._end_group(1.0)  # or it would go on beside what the next process starts
        return await self._finish(process)

    async def _finish(self, process: asyncio.subprocess.Process) -> int | None:
        """Log how a process ended, and what it wrote last."""
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), GONE_SECONDS)
        self._close()
        self.log.note(f"process {process.pid} {_how(process.returncode)}")
        return process.returncode

    async def _pause(self, code: int | None, pause_s: float) -> None:
        name = self.part.name
        self.log.note(f"is started again in {pause_s:g} s")
        logger.warning("%s %s; again in %g s → perdure logs %s", name, _how(code), pause_s, name)
        self._to("pausing")
        await asyncio.sleep(pause_s)
        self.restarts += 1

    async def _start(self) -> asyncio.subprocess.Process:
        # With asyncio's own pipes a process ends for it only when all heirs of these have ended.
        stdin, self._stdin = os.pipe()
        self._output, output = os.pipe()
        os.set_blocking(self._output, False)
        asyncio.get_running_loop().add_reader(self._output, self._read)
        try:
            return await asyncio.create_subprocess_exec(
                *self.part.command,
                env=self.environment,
                cwd=self.root,
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the supervisor, which ends all in order
            )
        except OSError:
            self._close()
            raise
        finally:
            os.close(stdin)
            os.close(output)

    def _close(self) -> None:
        """Log what the process wrote last, and close its pipes."""
        while self._read():
            pass
        self.log.add(b"")
        asyncio.get_running_loop().remove_reader(self._output)
        os.close(self._output)
        os.close(self._stdin)
        self._output = self._stdin = CLOSED

    def _read(self) -> bool:
        """Log what it has written; whether there may be more."""
        try:
            data = os.read(self._output, 65_536)
        except BlockingIOError:
            return False
        if not data:
            asyncio.get_running_loop().remove_reader(self._output)
        for line in self.log.add(data):
            before, self._waits = self._waits, blocked.heard(line, self._waits)
            matches = self.part.says is not None and self.part.says in line
            self._said = self._said or matches or bool(self._waits)
            if self._waits != before:
                self.changed()
                if self._waits:
                    logger.warning("%s waits: %s", self.part.name, "; ".join(self._waits))
        return bool(data)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Watch a process until it ends; one that does not answer for minutes is killed."""
        exited = asyncio.create_task(process.wait())
        begun = answered = time.monotonic()
        slow = False
        while not exited.done():
            now = time.monotonic()
            if await self._answers():
                answered = now
                if self.state == "starting":
                    logger.info("%s is ready, after %.1f s", self.part.name, now - begun)
                    self.ready.set()
                    self._to("running")
            elif now - answered > SILENT_SECONDS:
                self.log.add(f"not ready, or no answer, for {SILENT_SECONDS:.0f} s\n".encode())
                await self._end_group(0.0)
            elif self.state == "starting" and now - begun > SLOW_SECONDS and not slow:
                slow = True
                busy = f"{os.getloadavg()[0]:.1f} processes want {os.cpu_count()} cores"
                text = "%s is not ready after %.0f s (%s) → perdure logs %s"
                logger.warning(text, self.part.name, now - begun, busy, self.part.name)
            look_s = LOOK_SECONDS if self.state == "starting" else ASK_EVERY_SECONDS
            await asyncio.wait({exited}, timeout=look_s)

    async def _answers(self) -> bool:
        if self.part.once or (self.part.says is not None and not self._said):
            return False
        return self.part.address is None or await answers(self.part.address, ANSWER_SECONDS)

    async def _end_group(self, grace_s: float) -> None:
        ours = process_group.of_mark(self.environment[process_group.MARK], self.part.name)
        await asyncio.to_thread(process_group.end, ours, grace_s, grace_s + 2.0)

    def _to(self, state: PartState) -> None:
        self.state = state
        self.changed()


async def answers(address: str, limit_s: float) -> bool:
    """Whether an address of this machine answers a GET with 2xx; no proxy is asked.

    Args:
        address: A URL with a port.
        limit_s: How long to wait, in seconds.
    """
    parts = urlsplit(address)
    request = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close"
    try:
        async with asyncio.timeout(limit_s):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                writer.write(f"{request}\r\n\r\n".encode())
                _, status, *_ = (await reader.readline()).split()
            finally:
                writer.close()
    except (OSError, ValueError):  # ValueError: what answers does not speak HTTP
        return False
    return status.startswith(b"2")


def _how(code: int | None) -> str:
    """How a process ended."""
    if code is None:
        return "could not be started, or does not end"
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _start_failure(part: Part, code: int | None, log: Log) -> PerdureError:
    """Why a part could not be started, from what it wrote before it died."""
    text = "\n".join(log.last)
    if part.once and code in (UsageError.exit_code, Unreachable.exit_code):
        kind = UsageError if code == UsageError.exit_code else Unreachable
        return kind(f"perdure {part.name}: {text or _how(code)}")
    message = f"{part.name} did not start: it {_how(code)}."
    if shown := list(log.last)[-SHOWN_LINES:]:
        message += " Its last lines:" + "".join(f"\n  | {line}" for line in shown)
    hint = f"perdure logs {part.name} shows all of it; perdure doctor looks for the cause"
    low = text.lower()
    if disk.says_full(text):
        hint = f"free some space where {log.path.parent.parent} is, then: perdure up"
    elif "address already in use" in low or "errno 98" in low:
        hint = "another program took its port in this moment; perdure up takes another one"
    return Fault(message, hint=hint)
