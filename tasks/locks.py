"""One process at a time: locks that the kernel frees when their holder dies, however it dies.

The lock is an flock (through filelock) on `.perdure/locks/NAME.lock`; the file stays and means
nothing by itself. Who holds it stands in `NAME.json` beside it, for the loser to read.

A lock is not re-entrant: holding it and asking for it again in the same process is refused
like a request of another process. Two threads, or a flow that calls another one by mistake, would
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
from typing import Any, Literal

import psutil
from filelock import FileLock, Timeout

from perdure import atomic, private_folder
from perdure.config import Workspace
from perdure.errors import Fault, LockHeld

Name = Literal["model", "data", "versions"]

LOCKS = Path("/proc/locks")
"""What is locked on this machine, as Linux's kernel says it."""


@contextmanager
def hold(ws: Workspace, name: Name, purpose: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock of the workspace for the length of the context.

    Args:
        ws: The workspace.
        name: `model` for what moves versions and aliases, `data` for what adds experiences,
            `versions` for what copies or removes the files of versions.
        purpose: For the error of a process that waits: `retrain`, `rollback to version 3` …
        wait_s: How long to wait for it, in seconds; 0 asks once.

    Raises:
        LockHeld: Another process holds it; the message says which, since when and what for.
        Fault: The lock file cannot be made.
    """
    folder = ws.state / "locks"
    try:
        private_folder.make(ws.state)
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise Fault(f"the lock {folder / name}.lock cannot be taken: {error}") from error
    with _hold(folder / f"{name}.lock", f"the {name} lock of {ws.root}", purpose, wait_s):
        yield


@contextmanager
def hold_beside(database: Path, model: str, purpose: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of a model of a SQLite registry that several workspaces may use.

    Args:
        database: The SQLite file; the lock lies beside it.
        model: The registered model's name.
        purpose: As in `hold`.
        wait_s: As in `hold`.

    Raises:
        LockHeld: Another process holds it; the message says which, since when and what for.
        Fault: The lock file cannot be made.
    """
    place = database.with_name(f"{database.name}.{model}.lock")
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Fault(f"the lock {place} cannot be taken: {error}") from error
    with _hold(place, f"the lock of the model {model} in {database}", purpose, wait_s):
        yield


@contextmanager
def _hold(place: Path, what: str, purpose: str, wait_s: float) -> Iterator[None]:
    """Hold the lock in a file; who holds it stands in a note beside it."""
    note = place.with_suffix(".json")
    try:
        lock = FileLock(place, timeout=wait_s, poll_interval=0.05)
        lock.acquire()
    except Timeout:
        raise LockHeld(
            f"{what} is held {_by_whom(note)}; waited {wait_s:g} s. Nothing was changed",
            hint="run the command again when it is done",
        ) from None
    except OSError as error:
        raise Fault(f"the lock {place} cannot be taken: {error}") from error
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
    atomic.write_text(note, json.dumps(value))


def _by_whom(note: Path) -> str:
    try:
        holder = json.loads(note.read_text(encoding="utf-8"))
        here = " (this one)" if holder["pid"] == os.getpid() else ""
        return (
            f"by process {holder['pid']}{here} on {holder['host']} "
            f"since {holder['since']} for {holder['purpose']}"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "by another process"  # it has just taken it, or just let it go


def is_held(ws: Workspace, name: Name) -> bool:
    """Whether a process of this machine holds a lock of the workspace, without touching it.

    To try it would be to hold it for a moment, and a process that asks then would be refused.
    Elsewhere than on Linux the note beside the lock says it, which a killed process leaves.
    """
    folder = ws.state / "locks"
    try:
        file = (folder / f"{name}.lock").stat()
        held = LOCKS.read_text(encoding="ascii")
    except FileNotFoundError:
        return _is_noted(folder / f"{name}.json")
    except OSError:
        return False
    place = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    # Files of other file systems have the same number; btrfs and overlayfs show another device
    # than they lock by, so there the note decides.
    alike = [
        (fields[4], fields[5])
        for fields in map(str.split, held.splitlines())
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(f":{file.st_ino}")
    ]
    return any(at == place for _, at in alike) or (
        bool(alike) and str(_noted(folder / f"{name}.json").get("pid")) in dict(alike)
    )


def _is_noted(note: Path) -> bool:
    """Whether the process that a note names lives, and no other one has its number."""
    holder = _noted(note)
    try:
        born: float = psutil.Process(int(holder["pid"])).create_time()
        return abs(born - float(holder["born"])) < 1.0
    except (psutil.Error, OSError, ValueError, LookupError, TypeError):
        return False


def _noted(note: Path) -> dict[str, Any]:
    try:
        holder = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}
