"""What the parts write: a file for each, which never grows beyond a bound, and reading them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

MAX_BYTES = 5_000_000
"""Of one file."""
KEPT = 3
"""Older files of a part, with `.1` to `.3` behind their names; the oldest goes."""
WORDS = 30
"""Last lines of a part that are remembered, to be told where it could not start."""


class Log:
    """The log of one part. It never raises: where the disk is full, lines are lost."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._max = max_bytes
        self._lock = threading.Lock()
        self._rest = b""
        self._words: deque[str] = deque(maxlen=WORDS)

    def write(self, data: bytes) -> list[str]:
        """Add what the part wrote; the lines that are whole by now."""
        with self._lock:
            self._keep(data)
            *whole, self._rest = (self._rest + data).split(b"\n")
            self._rest = self._rest[-self._max :]
            lines = [line.decode("utf-8", "replace").rstrip("\r") for line in whole]
            self._words.extend(line for line in lines if line.strip())
            return lines

    def note(self, text: str) -> None:
        """Add a line of the supervisor's own, with the time."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._lock:
            self._keep(f"── {now} {text}\n".encode())

    def remember(self, text: str) -> None:
        """Count a line of the supervisor's among the part's last words."""
        with self._lock:
            self._words.append(text)

    def forget(self) -> None:
        """Remember no words of an earlier start."""
        with self._lock:
            self._rest = b""
            self._words.clear()

    @property
    def words(self) -> str:
        """The last that the part has said since it was started."""
        with self._lock:
            rest = self._rest.decode("utf-8", "replace")
            return "\n".join([*self._words, *([rest] if rest.strip() else [])])

    def _keep(self, data: bytes) -> None:
        with suppress(OSError):
            if self._size() + len(data) > self._max:
                self._rotate()
            with self.path.open("ab") as file:
                file.write(data[-self._max :])

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return 0

    def _rotate(self) -> None:
        for number in range(KEPT, 0, -1):
            with suppress(FileNotFoundError):
                older(self.path, number - 1).replace(older(self.path, number))


def older(path: Path, number: int) -> Path:
    """The file that was rotated so often; 0 is the one that is written now."""
    return path if number == 0 else path.with_name(f"{path.name}.{number}")


def parts(folder: Path) -> list[str]:
    """The parts that have written something, in order of name."""
    return sorted(path.stem for path in folder.glob("*.log"))


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a part, also from files that were rotated."""
    found: list[str] = []
    for number in range(KEPT + 1):
        if len(found) >= lines:
            break
        with suppress(FileNotFoundError):
            text = older(path, number).read_text(encoding="utf-8", errors="replace")
            found = text.splitlines() + found
    return found[-lines:] if lines else []


def follow(paths: Mapping[str, Path], stop: threading.Event) -> Iterator[tuple[str, str]]:
    """Lines as they are written from now on, each with the name of its part, until `stop`."""
    # Now, not when the first line is asked for.
    return _follow({name: _Place(path) for name, path in paths.items()}, stop)


def _follow(places: Mapping[str, _Place], stop: threading.Event) -> Iterator[tuple[str, str]]:
    while not stop.wait(0.25):
        for name, one in places.items():
            for line in one.news():
                yield name, line


class _Place:
    """How far a file was read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file, self._at = self._now()
        self._rest = b""

    def _now(self) -> tuple[int | None, int]:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None, 0
        return found.st_ino, found.st_size

    def news(self) -> list[str]:
        file, size = self._now()
        if file is None or (file == self._file and size <= self._at):
            return []
        data = b""
        if file != self._file:
            # It was rotated: first what was added to the old one after the last look.
            with suppress(OSError):
                old = older(self._path, 1)
                if self._file is not None and old.stat().st_ino == self._file:
                    data = _from(old, self._at)
            self._file, self._at = file, 0
        with suppress(OSError):
            more = _from(self._path, self._at)
            self._at += len(more)
            data += more
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [line.decode("utf-8", "replace") for line in whole]


def _from(path: Path, at: int) -> bytes:
    with path.open("rb") as file:
        file.seek(at)
        return file.read()
