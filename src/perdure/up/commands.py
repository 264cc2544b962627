"""What the commands `up` and `logs` do."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from perdure import config, running
from perdure.errors import PerdureError, UsageError
from perdure.flows.workspace import root_of
from perdure.running import Running, Written
from perdure.up import kin
from perdure.up import logs as writing
from perdure.up.parts import plan
from perdure.up.supervisor import Supervisor

logger = logging.getLogger("perdure")

LOG = "up"
"""What the supervisor's own log is called, among those of the parts."""


def run(root: Path, ready: Callable[[Running], None]) -> None:
    """Run everything that a workspace needs on this machine, until SIGINT or SIGTERM.

    Args:
        root: The workspace.
        ready: Called once, when everything is.

    Raises:
        UsageError: There is no workspace, or its configuration is wrong.
        LockHeld: It runs already.
        Unreachable: A server that is configured does not answer; nothing was started.
        Fault: A part could not be started; everything that had been started is ended.
    """
    ws = config.read(root_of(str(root)))
    with running.hold(ws.state), _noted(ws.state):
        _clear_up(running.folder(ws.state))
        wanted = plan(ws, running.folder(ws.state))
        for remark in wanted.remarks:
            logger.info("%s", remark)
        for server in wanted.elsewhere:
            server.ask()
        logger.info("Starting %s …", ", ".join(part.name for part in wanted.parts))
        Supervisor(wanted).run(ready)


@contextmanager
def _noted(state: Path) -> Iterator[None]:
    """Keep Perdure's own log lines, and what ended it, as the log of a part is kept."""
    log = writing.Log(running.log_path(state, LOG))

    class Words(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.note(self.format(record))

    words = Words(logging.INFO)
    logger.addHandler(words)
    try:
        yield
    except PerdureError as error:
        log.note(str(error))
        raise
    finally:
        logger.removeHandler(words)


def _clear_up(folder: Path) -> None:
    """End what a `perdure up` left that was killed just now, or together with its keeper."""
    ours = kin.of_place(folder)
    if left := kin.alive(ours):
        logger.warning("Ending what a killed perdure up has left: %d processes.", len(left))
        kin.end(ours, 2.0, 10.0)


def logs(root: Path, part: str | None, lines: int) -> tuple[Written, ...]:
    """The last lines of a part, or of all.

    Args:
        root: The workspace.
        part: Its name; None: all parts.
        lines: How many of each.

    Raises:
        UsageError: There is no workspace, or nothing of such a part.
    """
    return tuple(
        Written(name, str(path), tuple(writing.tail(path, lines)))
        for name, path in _paths(root, part).items()
    )


def follow(
    root: Path, part: str | None, stop: threading.Event | None = None
) -> Iterator[tuple[str, str]]:
    """Lines as they are written, each with its part, until `stop`; None: for ever."""
    return writing.follow(_paths(root, part), stop or threading.Event())


def _paths(root: Path, part: str | None) -> dict[str, Path]:
    state = config.read(root_of(str(root))).state
    known = writing.parts(running.logs(state))
    if part is not None and part not in known:
        there = f"there are {', '.join(known)}" if known else "there are none yet"
        raise UsageError(f"no log of a part {part!r}; {there}", hint="perdure logs")
    return {name: running.log_path(state, name) for name in ([part] if part else known)}
