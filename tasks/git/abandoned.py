"""Lock files of git that were left by a git that was killed.

Git itself never removes them, and each later command fails. Nothing in one says whose it is.
"""

from __future__ import annotations

import time
from pathlib import Path

import psutil

STALE_S = 10.0
"""A younger lock file is left alone."""
_READERS = frozenset({"cat-file"})
"""Commands that go on for as long as a program of DVC's does, and lock nothing."""


def left(top: Path) -> tuple[Path, ...]:
    """The lock files in a repository that no process can still need.

    Args:
        top: The folder that has `.git`.
    """
    found = sorted((top / ".git").glob("*.lock")) + sorted((top / ".git" / "refs").rglob("*.lock"))
    return tuple(lock for lock in found if _is_left(lock))


def remove(lock: Path) -> bool:
    """Remove a lock file of git, if no process can still need it.

    It may, if a git that is older than the file works in this repository, or where that cannot be
    known. What is no program of git's, as an editor, locks for an instant only.

    Args:
        lock: The file, such as `.git/index.lock`.

    Returns:
        Whether it is gone.
    """
    if not lock.exists():
        return True
    if not _is_left(lock):
        return False
    lock.unlink(missing_ok=True)
    return True


def _is_left(lock: Path) -> bool:
    try:
        made = lock.stat().st_mtime
    except FileNotFoundError:
        return False
    if time.time() - made < STALE_S:
        return False
    tree = _work_tree(lock)
    return not any(_may_lock(process, tree) for process in _older(made))


def _older(moment: float) -> list[psutil.Process]:
    """Processes that were there at a moment, which the kernel knows to a second or so."""
    found = []
    for process in psutil.process_iter(["create_time"]):
        began = process.info["create_time"]
        if began is None or began <= moment + 2.0:
            found.append(process)
    return found


def _work_tree(lock: Path) -> Path | None:
    """The folder whose `.git` has the file; None: there may be several, or none is known."""
    parts = lock.resolve().parts
    if ".git" not in parts or "worktrees" in parts:
        return None
    return Path(*parts[: parts.index(".git")])


def _may_lock(process: psutil.Process, tree: Path | None) -> bool:
    try:
        if process.name() != "git" or _READERS & set(process.cmdline()):
            return False
        return tree is None or Path(process.cwd()).is_relative_to(tree)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's
        return True
