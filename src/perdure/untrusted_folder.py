"""Folders that others write into: what is in them, read without following a link.

Writing into such a folder must not make Perdure read any other file of the machine, so a
link in it is a fault, at every level, and also when it is put there between two looks.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class Entry:
    """One file, as it was when the folder was looked at."""

    name: str
    """Relative to the folder, parts separated by `/`, as the file system has it."""
    size: int
    """In bytes."""
    fault: str | None
    """Why it is not to be read: it is a link, or no regular file."""
    seen: tuple[int, int, int]
    """Inode, size in bytes, time of change in ns."""


def entries(folder: Path) -> tuple[Entry, ...]:
    """Everything below a folder but folders and what is hidden, in order of name.

    Raises:
        OSError: The folder, or one in it, cannot be read.
    """
    return tuple(sorted(_below(folder, ""), key=lambda entry: entry.name.split("/")))


def _below(folder: Path, prefix: str) -> Iterator[Entry]:
    with os.scandir(folder) as found:
        for one in found:
            if one.name.startswith("."):
                continue
            if one.is_dir(follow_symlinks=False):
                yield from _below(Path(one.path), f"{prefix}{one.name}/")
                continue
            facts = one.stat(follow_symlinks=False)
            fault = "is a link" if one.is_symlink() else "is no regular file"
            yield Entry(
                f"{prefix}{one.name}",
                facts.st_size,
                None if stat.S_ISREG(facts.st_mode) else fault,
                (facts.st_ino, facts.st_size, facts.st_mtime_ns),
            )


def opened(folder: Path, name: str) -> BinaryIO:
    """Open a file that `entries` named, following no link below the folder.

    Raises:
        OSError: It is gone, a link, or no regular file.
    """
    *above, last = name.split("/")
    plain = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in above:
            below = os.open(part, plain | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        # Not blocking: a named pipe without a writer would wait for ever.
        file = os.open(last, plain | os.O_NONBLOCK, dir_fd=at)
    finally:
        os.close(at)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError("is no regular file")
    return os.fdopen(file, "rb")


def seen(folder: Path) -> tuple[int, int, int]:
    """Fingerprint of a folder's state: a hash of names and changes, files, bytes."""
    return _told(entries(folder))


def _told(found: tuple[Entry, ...]) -> tuple[int, int, int]:
    text = "\0".join(f"{entry.name}\0{entry.seen}" for entry in found)
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big"), len(found), sum(entry.size for entry in found)


def remove(folder: Path, known: tuple[int, int, int]) -> bool:
    """Remove a folder if it is as it was `seen`, file by file: what comes meanwhile stays.

    What is hidden stays too, for it was not read.

    Returns:
        Whether it is gone.

    Raises:
        OSError: A file in it cannot be removed.
    """
    found = entries(folder)
    if _told(found) != known:
        return False
    for entry in found:  # none but these: another may have come by now
        (folder / entry.name).unlink(missing_ok=True)
    for place, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # it is not empty
            Path(place).rmdir()
    return not folder.exists()
