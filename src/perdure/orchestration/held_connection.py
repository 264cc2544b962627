"""Says in a server's log who keeps its one database connection for long, and from whom.

No other request is answered meanwhile, so this is the first thing to know of a server that hangs.
"""

from __future__ import annotations

import asyncio
import faulthandler
import inspect
import sys
import threading
import time
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

Place = tuple[CodeType, int]
"""A line of a stack, read only for the report: every request takes the connection."""

LONG_S = 20.0
"""Seconds after which it is reported, once."""
LOOK_S = 5.0


class Holder:
    """Who has a connection out of an engine's pool of one.

    Args:
        log: A file with a descriptor.
        long_s: Seconds after which it is reported.
    """

    def __init__(self, log: IO[str] = sys.stderr, long_s: float = LONG_S) -> None:
        self._log = log
        self._long_s = long_s
        self._since: float | None = None
        self._task = ""
        self._places: list[Place] = []

    def follow(self, engine: AsyncEngine) -> AsyncEngine:
        """From now on, know who has this engine's connection."""
        from sqlalchemy import event

        event.listen(engine.sync_engine, "checkout", self._taken)
        event.listen(engine.sync_engine, "checkin", self._given_back)
        return engine

    def watch(self, look_s: float = LOOK_S) -> None:
        """Look now and then, in a thread, for the event loop may be what hangs."""
        threading.Thread(target=self._watch, args=(look_s,), daemon=True, name="holder").start()

    def _taken(self, *_connection: object) -> None:
        self._task = _task()
        self._places = list(_stack())
        self._since = time.monotonic()

    def _given_back(self, *_connection: object) -> None:
        self._since = None

    def _watch(self, look_s: float) -> None:
        reported = None
        while True:
            time.sleep(look_s)
            since, task, places = self._since, self._task, self._places
            if since is None or since == reported or time.monotonic() - since < self._long_s:
                continue
            reported = since
            self._tell(time.monotonic() - since, task, places)

    def _tell(self, seconds: float, task: str, places: list[Place]) -> None:
        self._log.write(
            f"The database's connection has been in use for {seconds:.0f} s. {task} took it in:\n"
        )
        for code, line in places:
            self._log.write(f"  {code.co_qualname} ({code.co_filename}:{line})\n")
        self._log.write("What the threads do:\n")
        self._log.flush()
        faulthandler.dump_traceback(self._log, all_threads=True)


def _task() -> str:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # a thread without an event loop
        task = None
    return task.get_name() if task is not None else threading.current_thread().name


def _stack() -> Iterator[Place]:
    """Who calls SQLAlchemy, innermost first; it works in a greenlet, with a stack of its own."""
    import greenlet  # type: ignore[import-untyped]  # it has no types of its own

    outside = greenlet.getcurrent().parent
    frame: FrameType | None = inspect.currentframe() if outside is None else outside.gr_frame
    while frame is not None:
        if "sqlalchemy" not in frame.f_code.co_filename:
            yield frame.f_code, frame.f_lineno
        frame = frame.f_back
