"""Copy files into a backup: what the backup before it has already is linked, not copied."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

CHUNK = 2**20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""Not blocking: a named pipe without a writer would wait for ever."""


class Copier:
    """Copies files into a folder that is to become a backup.

    A file that the backup before has under the same name, of the same size and time of change,
    is a hard link to that one, where the disk can. Files of a backup are never written to again.

    Args:
        target: The folder.
        before: The backup before; None: there is none, or nothing is to be linked.
        sums: The digests in that one's manifest.
    """

    def __init__(self, target: Path, before: Path | None, sums: Mapping[str, str]) -> None:
        self.target = target
        self.before = before
        self._known = sums
        self.sums: dict[str, str] = {}
        """The sha256 of every file so far, by name."""
        self.copied: set[str] = set()
        """Names of the files that were read."""
        self.size = 0
        """Bytes of the files that were copied."""

    def file(self, source: Path, name: str, whole: Callable[[Path], bool] | None = None) -> bool:
        """Copy one file.

        Args:
            source: A regular file, which is not followed where it is a link.
            name: Its name in the backup, parts separated by `/`.
            whole: Says of the copy whether it is what it should be; else it is left out.

        Returns:
            Whether it is in the backup now; not, where it is gone, changing, no regular file, or
            not `whole`.

        Raises:
            OSError: It cannot be read, or the backup cannot be written.
        """
        path = self.target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.fdopen(os.open(source, _READ), "rb")
        except FileNotFoundError:
            return False
        with file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                return False
            if self._linked(name, facts):
                return True
            digest = _copied(file, path)
            after = os.fstat(file.fileno())
        changing = (facts.st_size, facts.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
        if changing or (whole is not None and not whole(path)):
            path.unlink()
            return False
        if facts.st_mode & stat.S_IXUSR:  # a script of the user's
            path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IXUSR)
        os.utime(path, ns=(facts.st_mtime_ns, facts.st_mtime_ns))
        self._add(name, digest)
        self.copied.add(name)
        self.size += facts.st_size
        return True

    def tree(self, source: Path, name: str) -> tuple[str, ...]:
        """Copy every regular file below a folder.

        Returns:
            The names, from the folder, of those that `file` left out.

        Raises:
            OSError: As `file`; or a folder cannot be read.
        """
        return tuple(
            below for path, below in files(source) if not self.file(path, f"{name}/{below}")
        )

    def drop(self, name: str) -> None:
        """Take a folder out again."""
        for one in [one for one in self.sums if one.startswith(f"{name}/")]:
            del self.sums[one]
            if one in self.copied:
                self.copied.remove(one)
                self.size -= (self.target / one).stat().st_size
        shutil.rmtree(self.target / name, ignore_errors=True)

    def again(self, name: str) -> bool:
        """Take a file of the backup before as it is; False: it has none of this name."""
        return self.before is not None and self._take(name)

    def wrote(self, name: str) -> None:
        """Note a file that somebody else wrote into the folder."""
        path = self.target / name
        with path.open("rb") as file:
            os.fsync(file.fileno())
            self._add(name, hashlib.file_digest(file, "sha256").hexdigest())
        self.copied.add(name)
        self.size += path.stat().st_size

    def _linked(self, name: str, facts: os.stat_result) -> bool:
        if self.before is None:
            return False
        try:
            old = (self.before / name).stat(follow_symlinks=False)
        except OSError:
            return False
        if (old.st_size, old.st_mtime_ns) != (facts.st_size, facts.st_mtime_ns):
            return False
        return self._take(name)

    def _take(self, name: str) -> bool:
        if self.before is None or name not in self._known:
            return False
        try:
            (self.target / name).parent.mkdir(parents=True, exist_ok=True)
            (self.target / name).hardlink_to(self.before / name)
        except OSError:  # a disk without hard links, or with too many of this file
            return False
        self._add(name, self._known[name])
        return True

    def _add(self, name: str, digest: str) -> None:
        self.sums[name] = digest


def files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every regular file below a folder, with its name from there; in order.

    Raises:
        OSError: A folder cannot be read. One that is gone has no files.
    """
    for path, name in _walked(folder):
        if not path.is_symlink() and path.is_file():
            yield path, name


def others(folder: Path) -> Iterator[str]:
    """What is below a folder and no regular file: links, also to folders, pipes; by name.

    Raises:
        OSError: As `files`.
    """
    for path, name in _walked(folder):
        if path.is_symlink() or (path.exists() and not path.is_file()):
            yield name


def _walked(folder: Path) -> Iterator[tuple[Path, str]]:
    """All but the folders below a folder; a link to a folder is not followed."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error  # else its files would be left out, and nobody told

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders.sort()
        links = [name for name in folders if Path(place, name).is_symlink()]
        for name in sorted([*names, *links]):
            path = Path(place, name)
            yield path, path.relative_to(folder).as_posix()


def _copied(source: BinaryIO, target: Path) -> str:
    digest = hashlib.sha256()
    with target.open("xb") as file:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()
