"""The inbox: files and folders of images that wait, and letting go of them once they are safe."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from perdure import folders
from perdure.config import Workspace
from perdure.errors import ConfigError, UsageError
from perdure.flows.service import settled
from perdure.flows.service.settled import Seen, seen

logger = logging.getLogger("perdure")


@dataclass(frozen=True)
class Arrived:
    """A file, or a folder of images, as it was when it was first looked at."""

    path: Path
    seen: Seen | None
    """None: it cannot be looked at."""


def arrived(ws: Workspace, paths: list[str] | None, images: bool = False) -> list[Arrived]:
    """The files that paths name; a folder gives its files, in order of name.

    What is still being written in the inbox stays there for the next time. A file that somebody
    names is taken as it is.

    Args:
        ws: The workspace.
        paths: By default the inbox.
        images: A folder with folders in it arrives as one: they are those of the classes.

    Raises:
        UsageError: A path does not exist; nothing was changed.
    """
    found: list[Path] = []
    for path in map(Path, paths or [str(ws.inbox)]):
        if path.is_dir():
            inbox = path.resolve() == ws.inbox.resolve()
            whole = images and not inbox and _has_folders(path)
            inside = [path] if whole else _files(path, images)
            found += _settled(inside) if inbox else inside
        elif os.path.lexists(path):
            found.append(path)
        elif path != ws.inbox:
            raise UsageError(f"{path} does not exist", hint="perdure ingest PATH...")
    return [Arrived(path, seen(path)) for path in dict.fromkeys(found)]


def _settled(paths: list[Path]) -> list[Path]:
    found = settled.wait(paths)
    if growing := [path.name for path in paths if path not in found]:
        some = ", ".join(growing[:5]) + (", …" if len(growing) > 5 else "")
        logger.info("Still being written, and left for the next time: %s", some)
    return found


def waiting(ws: Workspace) -> list[Path]:
    """The files in the inbox, in order of name, and the folders where they are of images."""
    if not ws.inbox.is_dir():
        return []
    files = _files(ws.inbox, images=False)
    return _files(ws.inbox, images=True) if _has_folders(ws.inbox) and of_images(ws) else files


def of_images(ws: Workspace) -> bool:
    """Whether the schema is one of images, so that a folder may arrive."""
    from perdure.tasks.tables import schema  # the watcher runs for months without it

    try:
        return schema.load(ws.schema).kind == "image"
    except ConfigError:  # `perdure doctor` tells of it
        return False


def is_foreign(ws: Workspace, file: Path) -> bool:
    """Whether a file in the inbox is a link, and so content that lies somewhere else."""
    return file.is_symlink() and file.parent.resolve() == ws.inbox.resolve()


def let_go(ws: Workspace, file: Arrived) -> None:
    """Remove a file from the inbox, now that its content is kept elsewhere.

    A file that lies elsewhere stays, and so does one that changed meanwhile: it comes next.
    """
    inside = file.path.parent.resolve() == ws.inbox.resolve()
    if not inside or file.seen is None:
        return
    if file.path.is_dir() and not file.path.is_symlink():
        folders.remove(file.path, file.seen)
    elif seen(file.path) == file.seen:
        file.path.unlink(missing_ok=True)


def _has_folders(folder: Path) -> bool:
    return any(path.is_dir() and not path.name.startswith(".") for path in folder.iterdir())


def _files(folder: Path, images: bool) -> list[Path]:
    """All that is not hidden; folders too, where they may be of images.

    A link to nothing is there, to be refused.
    """
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and (not path.is_dir() or (images and _filled(path)))
    )


def _filled(folder: Path) -> bool:
    """Whether somebody has put files into a folder, or it is a link, to be refused."""
    return folder.is_symlink() or bool(folders.entries(folder))
