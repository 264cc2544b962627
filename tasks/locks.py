"""One process at a time: locks that the kernel frees when their holder dies, however it dies.

The lock is an flock (through filelock) on `.perdure/locks/NAME.lock`; the file stays and means
nothing by itself. Who holds it stands in `NAME.json` beside it, for the loser to read.

A lock is not re-entrant: holding it and asking for it again in the same process is refused
like anybody else's request. Two threads, or a flow that calls another one by mistake, would
otherwise both believe to be alone.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from perdure.config import Workspace
from perdure.errors import Fault, LockHeld

Name = Literal["model", "data"]


@contextmanager
def hold(ws: Workspace, name: Name, purpose: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock of the workspace for the length of the context.

    Args:
        ws: The workspace.
        name: `model` for what moves versions and aliases, `data` for what adds experiences.
        purpose: What for, as the loser is told: `retrain`, `rollback to version 3` …
        wait_s: How long to wait for it, in seconds; 0 asks once.

    Raises:
        LockHeld: Somebody else holds it; the message says who, since when and what for.
        Fault: The lock file cannot be made.
    """
    folder = ws.state / "locks"
    note = folder / f"{name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock", timeout=wait_s, poll_interval=0.05)
        lock.acquire()
    except Timeout:
        raise LockHeld(
            f"the {name} lock of {ws.root} is held {_by_whom(note)}; "
            f"waited {wait_s:g} s. Nothing was changed",
            hint="run the command again when it is done",
        ) from None
    except OSError as error:
        raise Fault(f"the lock {folder / name}.lock cannot be taken: {error}") from error
    try:
        _say(note, purpose)
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _say(note: Path, purpose: str) -> None:
    import psutil

    value = {
        "pid": os.getpid(),
        "born": psutil.Process().create_time(),  # numbers of processes are used again
        "host": socket.gethostname(),
        "purpose": purpose,
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    part = note.with_suffix(".part")  # only the holder writes, so one name is enough
    part.write_text(json.dumps(value), encoding="utf-8")
    part.replace(note)


def _by_whom(note: Path) -> str:
    try:
        said = json.loads(note.read_text(encoding="utf-8"))
        here = " (this one)" if said["pid"] == os.getpid() else ""
        return (
            f"by process {said['pid']}{here} on {said['host']} "
            f"since {said['since']} for {said['purpose']}"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "by another process"  # it has just taken it, or just let it go
