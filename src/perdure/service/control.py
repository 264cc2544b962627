"""What is done to a running `perdure up` from outside: its end, its logs, its pages."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import psutil

from perdure import config, running, server_secret
from perdure.errors import Fault, UsageError
from perdure.running import Running, Written
from perdure.service import part_log, process_group
from perdure.workspace import root_of

WAIT_SECONDS = 12.0
"""Ending takes 10 s at most; a supervisor that needs longer hangs, and is killed."""
KILL_SECONDS = 10.0


def down(root: Path) -> Running | None:
    """End what runs in a workspace, and wait until all of it is gone.

    Args:
        root: The workspace.

    Returns:
        What ran; None: nothing did.

    Raises:
        UsageError: It runs on another machine.
        Fault: It cannot be ended.
    """
    state = config.read(root_of(str(root))).state
    ours = process_group.of_folder(running.folder(state))
    now = running.read(state)
    supervisor = None if now is None else _supervisor(state, now)
    if now is None or supervisor is None:
        process_group.end(ours, 2.0, KILL_SECONDS)  # perhaps it was killed just now
        return None
    try:
        supervisor.terminate()
        if not _gone(supervisor, WAIT_SECONDS):
            supervisor.kill()
            _gone(supervisor, KILL_SECONDS)
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied:
        raise _of_another_user(now) from None
    left = process_group.end(ours, 0.0, KILL_SECONDS)
    if hanging := [one.pid for one in (supervisor, *left) if process_group.lives(one)]:
        raise Fault(
            f"process {now.pid} and what it started cannot be ended; still there: "
            f"{', '.join(map(str, hanging))}",
            hint="they hang in the kernel, as on a disk that does not answer: ps -fp PID",
        )
    return now


def _supervisor(state: Path, now: Running) -> psutil.Process | None:
    """Return the process that holds the lock: its id alone may be another process's by now.

    None: it has ended in this moment.
    """
    if now.host != socket.gethostname():
        raise UsageError(
            f"perdure up of this workspace runs on {now.host}, as process {now.pid}",
            hint=f"perdure down, on {now.host}",
        )
    try:
        process = psutil.Process(now.pid)
        lock = running.lock_path(state).resolve()
        if any(Path(file.path).resolve() == lock for file in process.open_files()):
            return process
    except psutil.AccessDenied:
        raise _of_another_user(now) from None
    except psutil.NoSuchProcess:
        pass
    if running.read(state) is None:
        return None
    raise Fault(
        f"perdure up runs, as process {now.pid} says that it is, but there is none such here",
        hint="perhaps it runs in a container: perdure down, in there",
    )


def _of_another_user(now: Running) -> Fault:
    text = f"process {now.pid} belongs to another user"
    return Fault(text, hint="perdure down, as that user")


def _gone(process: psutil.Process, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while process_group.lives(process):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def page(root: Path, which: Literal["prefect", "mlflow"]) -> str:
    """Return the address of the pages of Prefect or MLflow.

    That of Prefect's own server here lets one browser in, once, within a minute.

    Raises:
        UsageError: Nothing runs, or the pages are not known.
        Fault: The ticket cannot be written.
    """
    state = config.read(root_of(str(root))).state
    now = running.read(state)
    if now is None:
        raise UsageError("nothing of perdure up runs here", hint="perdure up --detach")
    if which == "mlflow":
        return now.mlflow
    if now.prefect_page is None:
        raise UsageError(f"the pages of the Prefect at {now.prefect_api} are not known")
    if not any(part.name == "server" for part in now.parts):
        return now.prefect_page
    try:
        return f"{now.prefect_page}/perdure/open/{server_secret.ticket(state)}"
    except OSError as error:
        raise Fault(f"{running.folder(state)} cannot be written: {error}") from error


def logs(root: Path, part: str | None, lines: int) -> tuple[Written, ...]:
    """Read the last lines of a part, or of all.

    Args:
        root: The workspace.
        part: Its name; None: all parts.
        lines: How many of each.

    Raises:
        UsageError: There is no workspace, or nothing of such a part.
    """
    return tuple(
        Written(name, str(path), tuple(part_log.tail(path, lines)))
        for name, path in _paths(root, part).items()
    )


def follow(root: Path, part: str | None) -> Iterator[tuple[str, str]]:
    """Yield lines as they are written, each with the name of its part, for ever."""
    return part_log.follow(_paths(root, part), threading.Event())


def _paths(root: Path, part: str | None) -> dict[str, Path]:
    state = config.read(root_of(str(root))).state
    known = part_log.parts(running.logs(state))
    if part is not None and part not in known:
        there = f"there are {', '.join(known)}" if known else "there are none yet"
        raise UsageError(f"no log of a part {part!r}; {there}", hint="perdure logs")
    return {name: running.log_path(state, name) for name in ([part] if part else known)}
