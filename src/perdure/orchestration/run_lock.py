"""Evidence that the process of a flow run lives: a lock that the kernel frees when it ends.

`.perdure/runs/<flow run id>` is locked from before it is visible until the process is gone,
and with it every process that it forked. A clock that jumps does not touch it.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from perdure.config import CONFIG_NAME
from perdure.orchestration import registry_identity
from perdure.workspace import root_of

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger("perdure")

FLOW_RUN = "PREFECT__FLOW_RUN_ID"
"""Prefect's engine reads from this variable which flow run it executes."""

MOST = 200
"""Lock files that are kept where no watcher removes those of ended runs."""

_held: dict[Path, int] = {}
_over: set[Path] = set()
"""Those of `_held` whose body has ended."""


def folder(root: Path) -> Path:
    """Where the locks of a workspace's flow runs lie."""
    return root / ".perdure" / "runs"


def hold(root: Path, flow_run: str) -> None:
    """Say that this process is a flow run, until it ends or is another flow run after it.

    It is not let go of at the end of the body, for only then does Prefect know how the run ended.
    Where it cannot be made, as on a full disk, the run goes on without.

    Args:
        root: The workspace.
        flow_run: Its id.
    """
    path = folder(root) / flow_run
    if path in _held:
        return
    part = path.with_name(f".{flow_run}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(lock, fcntl.LOCK_EX)
        part.replace(path)
    except OSError as error:
        logger.warning("The lock of flow run %s cannot be made: %s", flow_run, error)
        return
    while _over:
        os.close(_held.pop(_over.pop()))
    _held[path] = lock
    with suppress(OSError):  # another process does the same
        _prune(path.parent)


def hold_from_environment(root: Path) -> None:
    """Lock the run of a process that a worker started, as early as possible."""
    flow_run = os.environ.get(FLOW_RUN)
    if flow_run and (root / CONFIG_NAME).exists():
        hold(root, flow_run)


def held(body: Callable[P, R]) -> Callable[P, R]:
    """A flow's body that says that its run is alive; outside of a flow run the same body.

    Subflows live as long as the run that called them. A run that is meant for another workspace is
    refused (`registry_identity.check`).
    """

    @functools.wraps(body)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        from prefect.context import FlowRunContext

        context = FlowRunContext.get()
        run = context.flow_run if context is not None else None
        if run is None or run.parent_task_run_id is not None:
            return body(*args, **kwargs)
        root = root_of(str((run.parameters or {}).get("workspace", ".")))
        path = folder(root) / str(run.id)
        if (root / CONFIG_NAME).exists():
            hold(root, str(run.id))
        try:
            registry_identity.check(root, run.tags)
            return body(*args, **kwargs)
        finally:
            if path in _held:
                _over.add(path)

    return call


def gone(root: Path) -> Iterator[tuple[str, Path]]:
    """The flow runs whose process is no more, each with its lock file."""
    try:
        paths = sorted(folder(root).iterdir())
    except OSError:
        return
    for path in paths:
        if path.name.startswith("."):
            _clear(path)
        elif _is_free(path):
            yield path.name, path


def _clear(part: Path) -> None:
    """Remove what was killed before it had its name."""
    try:
        os.kill(int(part.name.rpartition(".")[2]), 0)
    except ProcessLookupError:
        part.unlink(missing_ok=True)
    except (OSError, ValueError):
        return


def known(root: Path, flow_run: str) -> bool:
    """Whether there is, or was, a process of a flow run on this machine."""
    return (folder(root) / flow_run).exists()


def _prune(place: Path) -> None:
    """Without `perdure up` nothing asks Prefect what became of old runs."""
    names = os.listdir(place)  # noqa: PTH208 - names alone, and there may be many
    if len(names) > MOST:
        found = sorted((path.stat().st_mtime_ns, path) for path in place.iterdir())
        for _, path in found[: -MOST // 2]:
            forget(path)


def forget(lock: Path) -> None:
    """Remove the lock file of a run that has ended, unless a process executes that run again."""
    if _is_free(lock):
        lock.unlink(missing_ok=True)


def _is_free(path: Path) -> bool:
    """Whether the lock is free; a process that asks for it meanwhile waits for us."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(lock).st_ino == path.stat().st_ino  # else it was replaced by another
    except OSError:
        return False
    finally:
        os.close(lock)
