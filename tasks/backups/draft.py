"""A backup that is being written: what the backup before it has already is linked, not copied."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from perdure import atomic, manifest
from perdure.errors import Corrupt
from perdure.tasks.backups.note import NOTE, Note

BUNDLE = "repository.bundle"
"""Git's history, as `git clone` takes it."""
TREE = "workspace"
"""The files of the workspace."""


@dataclass(frozen=True)
class Draft:
    """A folder that becomes a backup.

    A file that the backup before has under the same name, of the same size and time of change,
    becomes a hard link to that one, where the disk can. Files of a backup are never written to.
    """

    folder: Path
    name: str
    """That of the backup."""
    before: Path | None
    """The backup before; None: there is none, or nothing is to be linked."""
    linked: set[str] = field(default_factory=set)
    """Names of the files that are those of the backup before."""
    lacks: list[str] = field(default_factory=list)
    """What is not in it, and how it is kept safe instead."""
    left_out: list[str] = field(default_factory=list)
    """Names of files that are not in it."""
    removed: list[str] = field(default_factory=list)
    """Names of older backups that were removed when this one was there."""

    def add(
        self, source: Path, name: str, is_whole: Callable[[Path], bool] = lambda _: True
    ) -> bool:
        """Copy one file.

        Args:
            source: The file; a link is not followed.
            name: Its name in the backup, parts separated by `/`.
            is_whole: Looks at a new copy; one that is not whole is left out.

        Returns:
            Whether it is in the backup now. It is not where it is gone, changing, not whole, or
            no regular file.

        Raises:
            OSError: It cannot be read, or the backup cannot be written.
        """
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            found = source.lstat()
            if not stat.S_ISREG(found.st_mode):
                return False
            if self._is_linked(target, name, found):
                return True
            shutil.copyfile(source, target, follow_symlinks=False)
            with suppress(PermissionError):  # a USB stick has no modes
                shutil.copystat(source, target, follow_symlinks=False)
            unchanged = _seen(source.lstat()) == _seen(found)
        except FileNotFoundError:
            unchanged = False
        if unchanged and is_whole(target):
            return True
        target.unlink(missing_ok=True)
        return False

    def _is_linked(self, target: Path, name: str, found: os.stat_result) -> bool:
        if self.before is None:
            return False
        try:
            if _seen((self.before / name).lstat()) != _seen(found):
                return False
            target.hardlink_to(self.before / name)
        except OSError:  # no such file, or a disk without hard links
            return False
        self.linked.add(name)
        return True

    def seal(self, note: Note) -> dict[str, int]:
        """Write the note and the manifest, and see all of it onto the disk.

        Returns:
            The files of the backup with their sizes, in bytes; none may be added any more.
        """
        text = json.dumps(note.model_dump(), indent=1)
        (self.folder / NOTE).write_text(text + "\n", encoding="utf-8")
        known: dict[str, str] = {}
        if self.before is not None:
            with suppress(Corrupt):  # then the linked ones are read, too
                known = manifest.sums(self.before)
        manifest.write(self.folder, {n: known[n] for n in self.linked if n in known})
        for path in (*self.folder.rglob("*"), self.folder):
            atomic.sync(path)
        return {n: (self.folder / n).stat().st_size for n in manifest.sums(self.folder)}


def files(folder: Path) -> Iterator[Path]:
    """Yield all that is below a folder but folders, in order; follow no link.

    Raises:
        OSError: A folder cannot be read. One that is gone has no files.
    """
    with suppress(FileNotFoundError):
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.is_symlink():
                yield from files(path)
            else:
                yield path


def _seen(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_size, facts.st_mtime_ns
