"""The inbox: files that wait, and letting go of them once they are safe."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from perdure.config import Workspace
from perdure.errors import UsageError


@dataclass(frozen=True)
class Arrived:
    """A file as it was when it was first looked at."""

    path: Path
    seen: tuple[int, int, int] | None
    """Inode, size in bytes, time of change in ns; None: it cannot be looked at."""


def arrived(ws: Workspace, paths: list[str] | None) -> list[Arrived]:
    """The files that paths name; a folder gives its files, in order of name.

    Args:
        ws: The workspace.
        paths: By default the inbox.

    Raises:
        UsageError: A path does not exist; nothing was changed.
    """
    found: list[Path] = []
    for path in map(Path, paths or [str(ws.inbox)]):
        if path.is_dir():
            found += _files(path)
        elif os.path.lexists(path):
            found.append(path)
        elif path != ws.inbox:
            raise UsageError(f"{path} does not exist", hint="perdure ingest PATH...")
    return [Arrived(path, _seen(path)) for path in dict.fromkeys(found)]


def waiting(ws: Workspace) -> list[Path]:
    """The files in the inbox, in order of name."""
    return _files(ws.inbox) if ws.inbox.is_dir() else []


def is_foreign(ws: Workspace, file: Path) -> bool:
    """Whether a file in the inbox is a link, and so content that lies somewhere else."""
    return file.is_symlink() and file.parent.resolve() == ws.inbox.resolve()


def let_go(ws: Workspace, file: Arrived) -> None:
    """Remove a file from the inbox, now that its content is kept elsewhere.

    A file that lies elsewhere stays, and so does one that changed meanwhile: it comes next.
    """
    inside = file.path.parent.resolve() == ws.inbox.resolve()
    if inside and file.seen is not None and _seen(file.path) == file.seen:
        file.path.unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    """All but hidden files and folders; a link to nothing is there, to be refused."""
    return sorted(
        path for path in folder.iterdir() if not path.name.startswith(".") and not path.is_dir()
    )


def _seen(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        try:
            stat = path.lstat()
        except OSError:
            return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
