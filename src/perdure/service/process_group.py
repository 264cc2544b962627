"""Which processes belong to a `perdure up`, and how these and no others are ended.

Every part is started with a mark in its environment, which all that it starts inherit, also in a
session of their own, as flow runs are, and after their parents have died. A process id means
nothing here: it may be another process's by the time it is used.

The program `python -P -m perdure.service.process_group MARK` is the reaper: it waits until its
standard input ends, which the kernel sees to however the supervisor ends, and ends what is left.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

MARK = "PERDURE_UP"
"""The environment variable: `ID@FOLDER`, one `perdure up` of one workspace."""
PART = "PERDURE_PART"
"""The environment variable with the name of the part."""

PARTS_END_SECONDS = 2.0
"""How long the reaper lets parts end by themselves: their standard input has ended, too."""
LOOK_SECONDS = 0.1

Match = Callable[[Mapping[str, str]], bool]
"""Whether an environment is that of a process that is meant."""


def new_mark(folder: Path) -> str:
    """Return the mark of a new `perdure up`, whose state is in a folder."""
    return f"{uuid.uuid4().hex}@{_identity(folder)}"


def of_mark(mark: str, part: str | None = None) -> Match:
    """Match the processes of one `perdure up`, or of one part of it."""
    return lambda environment: (
        environment.get(MARK) == mark and part in (None, environment.get(PART))
    )


def of_folder(folder: Path) -> Match:
    """Match the processes of any `perdure up` of a folder, also of one that was killed."""
    end = f"@{_identity(folder)}" if folder.exists() else None
    return lambda environment: end is not None and environment.get(MARK, "").endswith(end)


def _identity(folder: Path) -> str:
    """Name a folder of this machine, by whatever path it is seen."""
    found = folder.stat()
    return f"{found.st_dev}:{found.st_ino}"


def alive(match: Match) -> list[psutil.Process]:
    """List the processes that match, with their descendants; never the caller itself."""
    import psutil  # the reaper needs no more than this, and that late

    found: dict[int, psutil.Process] = {}
    for pid in psutil.pids():
        try:
            process = psutil.Process(pid)
            if pid in found or not match(process.environ()):
                continue
            found[pid] = process
            found.update((child.pid, child) for child in process.children(recursive=True))
        except (psutil.Error, OSError):
            continue  # it has ended, or belongs to another user
    found.pop(os.getpid(), None)
    return [process for process in found.values() if lives(process)]


def lives(process: psutil.Process) -> bool:
    """Whether a process is there, and no mere zombie."""
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def end(match: Match, grace_s: float, limit_s: float) -> list[psutil.Process]:
    """End all that match, also what they start meanwhile: SIGTERM, then SIGKILL.

    Args:
        match: Which processes.
        grace_s: Seconds until SIGKILL; 0 kills at once.
        limit_s: Seconds until it gives up.

    Returns:
        What still lives: nothing, but for a process that hangs in the kernel.
    """
    import psutil

    start = time.monotonic()
    terminated: set[psutil.Process] = set()
    while left := alive(match):
        passed = time.monotonic() - start
        if passed >= limit_s:
            return left
        for process in left:
            try:
                if passed >= grace_s:
                    process.kill()
                elif process not in terminated:
                    terminated.add(process)
                    process.terminate()
            except psutil.Error:
                continue
        time.sleep(LOOK_SECONDS)
    return []


def reap(mark: str) -> None:
    """Wait until standard input ends, and end what is left of a `perdure up`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # its one task comes after the end of all others
    while os.read(0, 1024):
        pass
    deadline = time.monotonic() + PARTS_END_SECONDS
    while alive(of_mark(mark)) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    end(of_mark(mark), 2.0, 60.0)


if __name__ == "__main__":
    reap(sys.argv[1])
