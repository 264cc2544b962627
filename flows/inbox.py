"""The inbox: files and folders of images that wait, and letting go of them once they are safe."""

from __future__ import annotations

import logging
import math
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from perdure import untrusted_folder
from perdure.config import Workspace
from perdure.errors import ConfigError, UsageError
from perdure.tasks import write_complete
from perdure.tasks.write_complete import Seen, seen

logger = logging.getLogger("perdure")


@dataclass(frozen=True)
class Arrived:
    """A file, or a folder of images, as it was when it was first looked at."""

    path: Path
    seen: Seen | None
    """None: it cannot be looked at."""


def arrived(
    ws: Workspace, paths: list[str] | None, images: bool = False, rest_s: float = 0.0
) -> list[Arrived]:
    """The files that paths name; a folder gives its files in natural order of their names.

    The inbox gives them by time of arrival: see `_by_arrival`.

    What is still being written in the inbox stays there for the next time. A file that is
    named is taken as it is.

    Args:
        ws: The workspace.
        paths: By default the inbox.
        images: A folder with folders in it arrives as one: they are those of the classes.
        rest_s: What is in the inbox must not have changed for so long, in seconds. A program
            that writes a file in pieces, and closes it in between, is noticed only by this.

    Raises:
        UsageError: A path does not exist; nothing was changed.
    """
    found: list[Arrived] = []
    for path in map(Path, paths or [str(ws.inbox)]):
        if path.is_dir():
            inbox = path.resolve() == ws.inbox.resolve()
            whole = images and not inbox and _has_folders(path)
            # As they are now, before the check whether they are complete: what changes from
            # here on, in whatever moment, is left.
            inside = [
                Arrived(one, seen(one)) for one in ([path] if whole else _files(path, images))
            ]
            if inbox:
                inside = _settled(_by_arrival(inside, ws.config.trigger.debounce), rest_s)
            found += inside
        elif os.path.lexists(path):
            found.append(Arrived(path, seen(path)))
        elif path != ws.inbox:
            raise UsageError(f"{path} does not exist", hint="perdure ingest PATH...")
    return list({one.path: one for one in found}.values())


def _settled(files: list[Arrived], rest_s: float) -> list[Arrived]:
    whole = set(write_complete.wait([file.path for file in files]))
    now = time.time()
    found, growing = [], []
    for file in files:
        if file.path in whole and _age_s(file.path, now) >= rest_s:
            found.append(file)
        else:
            growing.append(file.path.name)
    if growing:
        some = ", ".join(growing[:5]) + (", …" if len(growing) > 5 else "")
        logger.info("Still being written, and left for the next time: %s", some)
    return found


def _age_s(path: Path, now: float) -> float:
    """For how long a file, or all in a folder, has not changed, in seconds.

    A date in the future says nothing: that clock was ahead, or ours was set back.
    """
    ages = [math.inf]
    for place, _, names in os.walk(path):
        ages += [now - _date(Path(place, name)) for name in (".", *names)]
    ages.append(now - _date(path))
    return min(age for age in ages if age >= 0)


def _date(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:  # it is gone, which is found where it is read
        return -math.inf


def has_changed(ws: Workspace, file: Arrived) -> bool:
    """Whether a file in the inbox is no longer what was first looked at: it is left there."""
    if not _is_inside(ws, file.path) or seen(file.path) == file.seen:
        return False
    logger.info("%s changed while it was read, and is left for the next time", file.path.name)
    return True


def is_unreadable(ws: Workspace, file: Path) -> bool:
    """Whether a file in the inbox cannot be read, and so not be kept in quarantine either."""
    if not _is_inside(ws, file):
        return False
    try:
        _open(file)
    except FileNotFoundError:  # or a link to nothing, which the reader reports
        return False
    except OSError as error:
        logger.warning(
            "%s cannot be read (%s): it stays in the inbox until this account may read it.",
            file,
            error.strerror or error,
        )
        return True
    return False


def _open(file: Path) -> None:
    if file.is_dir() and not file.is_symlink():
        for entry in untrusted_folder.entries(file):
            if entry.fault is None:
                untrusted_folder.opened(file, entry.name).close()
    elif file.is_file():
        file.open("rb").close()


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
    except ConfigError:  # `perdure doctor` reports it
        return False


def is_foreign(ws: Workspace, file: Path) -> bool:
    """Whether a file in the inbox is a link, and so content that lies somewhere else."""
    return file.is_symlink() and _is_inside(ws, file)


def _is_inside(ws: Workspace, file: Path) -> bool:
    return file.parent.resolve() == ws.inbox.resolve()


def let_go(ws: Workspace, file: Arrived) -> None:
    """Remove a file from the inbox, now that its content is kept elsewhere.

    A file that lies elsewhere stays, and so does one that changed meanwhile: it comes next.
    """
    if not _is_inside(ws, file.path) or file.seen is None:
        return
    try:
        now = seen(file.path)
        if now is None:  # another process has removed it
            return
        if now != file.seen:
            logger.warning(
                "%s changed after it was read: what it was then is kept, and what it is now "
                "is ingested next time.",
                file.path.name,
            )
        elif file.path.is_dir() and not file.path.is_symlink():
            untrusted_folder.remove(file.path, file.seen)
        else:
            file.path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s is kept now, and is to be removed from the inbox: %s", file.path, error)


def _has_folders(folder: Path) -> bool:
    return any(path.is_dir() and not path.name.startswith(".") for path in folder.iterdir())


def _files(folder: Path, images: bool) -> list[Path]:
    """All that is not hidden; folders too, where they may be of images.

    A link to nothing is there, to be refused.
    """
    found = [
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and (not path.is_dir() or (images and _filled(path)))
    ]
    return sorted(found, key=_natural)


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """The key of natural order: `year-9.csv` before `year-10.csv`."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(one), "") if one.isdecimal() else (-1, one) for one in parts], path.name


def _by_arrival(files: list[Arrived], burst_s: float) -> list[Arrived]:
    """Sort by time of arrival; files that came together, by name.

    A file arrives when the file system last changed its entry (ctime): when it was written, or
    moved into the folder, whatever its own date says. Files belong together where each came within
    `burst_s` seconds of the one before.
    """
    came = sorted((_changed(file.path), number) for number, file in enumerate(files))
    found: list[Arrived] = []
    burst: list[int] = []
    last = -math.inf
    for at, number in came:
        if at - last > burst_s:
            found += [files[one] for one in sorted(burst)]
            burst = []
        burst.append(number)
        last = at
    return found + [files[one] for one in sorted(burst)]


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_ctime
    except OSError:  # it is gone, which is found where it is read
        return -math.inf


def _filled(folder: Path) -> bool:
    """Whether a folder has files in it, or is a link, which is refused."""
    try:
        return folder.is_symlink() or bool(untrusted_folder.entries(folder))
    except OSError:  # it cannot be read, which the ingest reports
        return True
