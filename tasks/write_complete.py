"""Whether a file is still being written.

On Linux the kernel knows: it refuses a read lease on a file that a process has open for writing.
Where it does not tell (another system, another owner's file, a file system of the network), and
for a folder, which may still get more files, nothing must have changed between two looks. Both
go by what is there, not by the time that stands beside it: clocks jump, and copies keep dates.
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from perdure import untrusted_folder

Seen = tuple[int, int, int]
"""Inode, size in bytes, time of change in ns; of a folder those of all its files together."""

APART_S = 1.0
"""What the kernel does not tell must be the same for so long."""

LOCAL = frozenset(
    {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"}
)
"""File systems whose writers are all on this machine. NFS and SMB refuse leases for reasons of
their own, and do not know of a writer elsewhere."""


def seen(path: Path) -> Seen | None:
    """Return the fingerprint of a file or folder; None: it cannot be looked at."""
    try:
        if path.is_dir() and not path.is_symlink():
            return untrusted_folder.seen(path)
        facts = path.stat()
    except OSError:
        try:
            facts = path.lstat()
        except OSError:
            return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


class Looks:
    """Looks at files again and again, and remembers what it needs to.

    Args:
        clock: In seconds; never set back.
        kernel: Whether to ask it.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, kernel: bool = sys.platform == "linux"
    ) -> None:
        self._clock = clock
        self._kernel = kernel
        self._before: dict[Path, tuple[Seen, float]] = {}

    def settled(self, paths: Iterable[Path]) -> list[Path]:
        """Return those that are complete, in the order given; what is gone is left out."""
        mounts = _Mounts() if self._kernel else None
        given = list(paths)
        found = [path for path in given if self._is_settled(path, mounts)]
        for path in self._before.keys() - set(given):
            del self._before[path]
        return found

    def _is_settled(self, path: Path, mounts: _Mounts | None) -> bool:
        try:
            kind = path.lstat().st_mode
        except OSError:
            return False
        now = seen(path)
        # A link or a pipe is refused as what it is; a folder that cannot be read, with its reason.
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)) or now is None:
            return True
        closed = _is_closed(path, kind, mounts) if mounts is not None else None
        if closed is None:
            return self._is_same(path, now)
        self._before.pop(path, None)
        return closed

    def _is_same(self, path: Path, now: Seen) -> bool:
        before, since = self._before.get(path, (None, 0.0))
        if before == now:
            return self._clock() - since >= APART_S
        self._before[path] = (now, self._clock())
        return False


def wait(paths: Iterable[Path], looks: Looks | None = None) -> list[Path]:
    """Return those that are complete; where the kernel cannot say, after two looks."""
    given = list(paths)
    looks = looks or Looks()
    found = looks.settled(given)
    if len(found) < len(given):
        time.sleep(APART_S)
        found = looks.settled(given)
    return found


def _is_closed(path: Path, kind: int, mounts: _Mounts) -> bool | None:
    """Whether no process writes to it, by the kernel; None: the kernel does not say."""
    if not mounts.are_local(path):
        return None
    if stat.S_ISREG(kind):
        written = _is_written(path)
        return None if written is None else not written
    with suppress(OSError):
        if any(_is_written(path / entry.name) for entry in untrusted_folder.entries(path)):
            return False
    return None  # no file in it is open, but the next may be about to come


def _is_written(path: Path) -> bool | None:
    """Whether a process has a file open for writing; None: the kernel does not say."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Somebody who opens it in this moment waits for the lease to go, and we are told by a
        # signal: by default SIGIO, which would end this process; SIGURG does nothing.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:  # not ours, or a file system without leases
        return None
    finally:
        os.close(file)
    return False


class _Mounts:
    """Which folders are on which kind of file system, as of now."""

    def __init__(self) -> None:
        self._kinds: dict[Path, str] = {}
        with suppress(OSError, ValueError, IndexError):
            for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
                fields, _, rest = line.partition(" - ")
                place = fields.split()[4].replace("\\040", " ")
                self._kinds[Path(place)] = rest.split()[0]  # a later mount hides an earlier one
        self._local: dict[Path, bool] = {}

    def are_local(self, path: Path) -> bool:
        """Whether the files of this path's folder, and those below it, are of this machine."""
        folder = path.parent
        if folder not in self._local:
            real = folder.resolve()
            on = next((p for p in (real, *real.parents) if p in self._kinds), None)
            self._local[folder] = on is not None and self._kinds[on] in LOCAL
        return self._local[folder]
