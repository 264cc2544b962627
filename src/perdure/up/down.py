"""Ending a `perdure up` from outside: the one that holds the lock of the workspace."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import psutil

from perdure import config, running
from perdure.errors import Fault, UsageError
from perdure.flows.workspace import root_of
from perdure.running import Running
from perdure.up import kin

WAIT_SECONDS = 12.0
"""It takes 10 s itself at most; who needs longer hangs."""
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
    now = running.read(state)
    supervisor = None if now is None else _supervisor(state, now)
    if now is None or supervisor is None:
        kin.end(_of_folder(state), 2.0, KILL_SECONDS)  # perhaps it was killed just now
        return None
    below = _below(supervisor)
    _signal(supervisor, signal.SIGTERM)
    if not _gone(supervisor, WAIT_SECONDS):
        _signal(supervisor, signal.SIGKILL)
    left = kin.end(_of_folder(state), 0.0, KILL_SECONDS) if _gone(supervisor, KILL_SECONDS) else []
    _, alive = psutil.wait_procs(below, timeout=KILL_SECONDS)
    hanging = [one for one in (supervisor, *left, *alive) if kin.lives(one)]
    if hanging:
        raise Fault(
            f"process {now.pid} and what it started cannot be ended; still there: "
            f"{', '.join(str(one.pid) for one in hanging)}",
            hint="they hang in the kernel, as on a disk that does not answer: ps -fp PID",
        )
    return now


def _of_folder(state: Path) -> kin.Match:
    folder = running.folder(state)
    return kin.of_place(folder) if folder.exists() else (lambda _environment: False)


def _supervisor(state: Path, now: Running) -> psutil.Process | None:
    """The process that holds the lock: its number alone may be somebody else's by now.

    None: it has ended in this moment.
    """
    if now.host != socket.gethostname():
        raise UsageError(
            f"perdure up of this workspace runs on {now.host}, as process {now.pid}",
            hint=f"perdure down, on {now.host}",
        )
    try:
        one = psutil.Process(now.pid)
        lock = running.lock_path(state)
        if any(Path(file.path).exists() and lock.samefile(file.path) for file in one.open_files()):
            return one
    except psutil.AccessDenied:
        raise Fault(
            f"process {now.pid} belongs to another user", hint="perdure down, as that user"
        ) from None
    except psutil.NoSuchProcess:
        pass
    if running.read(state) is None:
        return None
    raise Fault(
        f"perdure up runs, as process {now.pid} says that it is, but there is none such here",
        hint="perhaps it runs in a container: perdure down, in there",
    )


def _below(supervisor: psutil.Process) -> list[psutil.Process]:
    try:
        return list(supervisor.children(recursive=True))
    except psutil.Error:
        return []


def _signal(one: psutil.Process, number: signal.Signals) -> None:
    try:
        one.send_signal(number)
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied:
        raise Fault(
            f"process {one.pid} belongs to another user", hint="perdure down, as that user"
        ) from None


def _gone(one: psutil.Process, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while kin.lives(one):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True
