"""What `perdure up` runs on this machine, as it stands in `.perdure/up/` of the workspace.

Whether anything runs is decided by the lock alone: the kernel frees it when its holder dies,
however it dies. `up.json` beside it says what; without the lock it means nothing.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from perdure import atomic, private_folder
from perdure.errors import Fault, LockHeld

PartState = Literal["waiting", "starting", "running", "pausing", "done", "stopped"]
"""`waiting` for a part that it needs, `pausing` before it is started again."""

State = Literal["starting", "ready", "stopping"]

ASK_SECONDS = 1.0
"""How long the lock is asked for: a process that only looks holds it for a moment, too."""


@dataclass(frozen=True)
class Part:
    """One process that is kept going."""

    name: str
    state: PartState
    pid: int | None
    restarts: int
    """How often it was started again after it had died."""
    log: str
    waits: str | None = None
    """What it lacks to do its work, though it runs."""


@dataclass(frozen=True)
class Running:
    """Everything that runs for a workspace, and where it answers."""

    pid: int
    """The supervisor's."""
    host: str
    started: str
    state: State
    prefect_api: str
    prefect_page: str | None
    """None: an external server, whose pages Perdure does not know."""
    mlflow: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Written:
    """The last lines that a part has written."""

    part: str
    path: str
    lines: tuple[str, ...]


def folder(state: Path) -> Path:
    """Where it all stands, below the workspace's folder of state."""
    return state / "up"


def lock_path(state: Path) -> Path:
    """Locked by the supervisor for as long as it lives."""
    return folder(state) / "lock"


def logs(state: Path) -> Path:
    """One file for each part."""
    return folder(state) / "logs"


def log_path(state: Path, part: str) -> Path:
    """What a part wrote; older lines are in files of the same name with a number behind it."""
    return logs(state) / f"{part}.log"


def read(state: Path) -> Running | None:
    """What runs; None: nothing does."""
    if not _held(state):
        return None
    deadline = time.monotonic() + ASK_SECONDS
    while (found := _record(state)) is None and time.monotonic() < deadline:
        time.sleep(0.05)  # it holds the lock, and is about to write
    return found if _held(state) else None


def from_json(value: dict[str, Any]) -> Running:
    """What runs, as its JSON says it.

    Raises:
        LookupError, TypeError: Something is missing, or too much.
    """
    parts = tuple(Part(**part) for part in value["parts"])
    return Running(**{**value, "parts": parts})


def write(state: Path, now: Running) -> None:
    """Write what runs. Needs the lock.

    Raises:
        OSError: It cannot be written.
    """
    atomic.write_text(folder(state) / "up.json", json.dumps(dataclasses.asdict(now), indent=1))


@contextmanager
def hold(state: Path) -> Iterator[None]:
    """Be the one supervisor of a workspace for the length of the context.

    Raises:
        LockHeld: There is another one; the message says which, and where it answers.
        Fault: The lock cannot be taken.
    """
    try:
        private_folder.make(state)
        folder(state).mkdir(parents=True, exist_ok=True)
        lock = os.open(lock_path(state), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Fault(f"{folder(state)} cannot be written: {error}") from error
    try:
        _take(lock, state)
        with suppress(OSError):  # of one that was killed
            (folder(state) / "up.json").unlink(missing_ok=True)
        yield
    finally:
        os.close(lock)


def _take(lock: int, state: Path) -> None:
    deadline = time.monotonic() + ASK_SECONDS
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LockHeld(
                    f"perdure up runs here already: {described(read(state))}",
                    hint="perdure status shows it, perdure down ends it",
                ) from None
            time.sleep(0.05)
        except OSError as error:  # a file system without locks
            raise Fault(f"{lock_path(state)} cannot be locked: {error}") from error


def described(now: Running | None) -> str:
    """Who runs and where it answers, in a line."""
    if now is None:
        return "another process"
    there = "" if now.host == socket.gethostname() else f" on {now.host}"
    return (
        f"process {now.pid}{there} since {now.started}, "
        f"Prefect {now.prefect_page or now.prefect_api}, MLflow {now.mlflow}"
    )


def _held(state: Path) -> bool:
    try:
        lock = os.open(lock_path(state), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(lock)
    return False


def _record(state: Path) -> Running | None:
    try:
        return from_json(json.loads((folder(state) / "up.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None
