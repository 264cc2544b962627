"""Which processes belong to a `perdure up`, and ending those and no others.

Every part is started with a mark in its environment, which all that it starts inherit: also in
a session of their own, as Prefect gives to flow runs, and also when their parents have died. So
whoever has the mark, or descends from somebody who has it, is ours. A number of a process means
nothing here: it may be somebody else's by the time it is used.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil

MARK = "PERDURE_UP"
"""The environment variable: `LIFE@PLACE`, one `perdure up` of one workspace."""
PART = "PERDURE_PART"
"""The environment variable with the name of the part."""

LOOK_SECONDS = 0.1

Match = Callable[[dict[str, str]], bool]
"""Whether an environment is that of somebody who is meant."""


def place(folder: Path) -> str:
    """Names a folder of this machine, by whatever path it is seen."""
    found = folder.stat()
    return f"{found.st_dev}:{found.st_ino}"


def new_mark(folder: Path) -> str:
    """The mark of a new life of `perdure up` in a folder."""
    return f"{uuid.uuid4().hex}@{place(folder)}"


def of_life(mark: str) -> Match:
    """Everything of one `perdure up`."""
    return lambda environment: environment.get(MARK) == mark


def of_part(mark: str, part: str) -> Match:
    """One part of it, with all that it started."""
    return lambda environment: environment.get(MARK) == mark and environment.get(PART) == part


def of_place(folder: Path) -> Match:
    """Everything of any `perdure up` of a folder, also of one that was killed."""
    end = f"@{place(folder)}"
    return lambda environment: environment.get(MARK, "").endswith(end)


def alive(match: Match) -> list[psutil.Process]:
    """The processes that are meant, with their descendants; never the caller itself."""
    found: dict[int, psutil.Process] = {}
    for pid in psutil.pids():
        try:
            one = psutil.Process(pid)
            if pid in found or not match(one.environ()):
                continue
            found[pid] = one
            found.update((child.pid, child) for child in one.children(recursive=True))
        except (psutil.Error, OSError):
            continue  # gone by now, or somebody else's
    found.pop(os.getpid(), None)
    return [one for one in found.values() if lives(one)]


def end(match: Match, patience_s: float, limit_s: float) -> list[psutil.Process]:
    """End all that are meant: SIGTERM at once, SIGKILL to what is left after a while.

    Args:
        match: Who is meant; looked for again and again, as they may start others meanwhile.
        patience_s: Seconds until SIGKILL; 0 kills at once.
        limit_s: Seconds until it gives up.

    Returns:
        What still lives: nothing, but for a process that hangs in the kernel.
    """
    start = time.monotonic()
    told: set[psutil.Process] = set()
    while left := alive(match):
        passed = time.monotonic() - start
        if passed >= limit_s:
            return left
        for one in left:
            try:
                if passed >= patience_s:
                    one.kill()
                elif one not in told:
                    told.add(one)
                    one.terminate()
            except psutil.Error:
                continue
        time.sleep(min(LOOK_SECONDS, max(0.01, limit_s - passed)))
    return []


def lives(one: psutil.Process) -> bool:
    """Whether a process is there, and no mere zombie."""
    try:
        return bool(one.is_running() and one.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
