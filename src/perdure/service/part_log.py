"""What the parts of `perdure up` write: a file for each, within bounds, and how it is read."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

MAX_BYTES = 5_000_000
"""Bytes of one file."""
KEPT = 3
"""Older files of a part, with `.1` to `.3` behind their names; the oldest goes."""
LAST_LINES = 30
"""Lines of a part that are remembered, for the message where it cannot start."""
LONGEST_LINE = 65_536
LOOK_SECONDS = 0.25


class Log:
    """The log of one part. It never raises: where the disk is full, lines are lost."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.last: deque[str] = deque(maxlen=LAST_LINES)
        """The last lines of the part since it was started."""
        self._file = _File(
            path,
            maxBytes=max_bytes,
            backupCount=KEPT,
            encoding="utf-8",
            errors="replace",
            delay=True,
        )
        self._rest = b""

    def add(self, data: bytes) -> list[str]:
        """Add what the part wrote, or, where that is nothing, a last line without an end.

        Returns:
            The lines that are complete by now.
        """
        *complete, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE or (self._rest and not data):
            complete, self._rest = [*complete, self._rest], b""
        lines = [line.decode("utf-8", "replace").rstrip("\r") for line in complete]
        for line in lines:
            self._write(line)
        self.last.extend(line for line in lines if line.strip())
        return lines

    def note(self, text: str) -> None:
        """Add a line of Perdure's own, with the time."""
        self._write(f"── {datetime.now(UTC).isoformat(timespec='seconds')} {text}")

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self._file.close()

    def _write(self, line: str) -> None:
        self._file.handle(logging.makeLogRecord({"msg": line}))


class _File(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name in logging
        """Lose a line that cannot be written."""


def parts(folder: Path) -> list[str]:
    """Name the parts that have written something, in order of name."""
    return sorted(path.stem for path in folder.glob("*.log"))


def tail(path: Path, lines: int) -> list[str]:
    """Read the last lines of a part, also from files that were rotated."""
    found: list[str] = []
    for file in (path, *(path.with_name(f"{path.name}.{n}") for n in range(1, KEPT + 1))):
        if len(found) < lines:
            with suppress(FileNotFoundError):
                found = file.read_text(encoding="utf-8", errors="replace").splitlines() + found
    return found[-lines:] if lines else []


def follow(paths: Mapping[str, Path], stop: threading.Event) -> Iterator[tuple[str, str]]:
    """Yield lines as they are written from now on, each with the name of its part, until `stop`."""
    with ExitStack() as closing:
        tails = {name: closing.enter_context(_Tail(path)) for name, path in paths.items()}
        while not stop.wait(LOOK_SECONDS):
            for name, one in tails.items():
                for line in one.new_lines():
                    yield name, line


class _Tail:
    """The end of a file that may be rotated, or not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rest = ""
        self._file: TextIO | None = None

    def __enter__(self) -> _Tail:
        self._open()
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)
        return self

    def __exit__(self, *_error: object) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self) -> None:
        with suppress(FileNotFoundError):
            self._file = self._path.open(encoding="utf-8", errors="replace")

    def new_lines(self) -> list[str]:
        rotated = self._rotated()
        text = self._rest + (self._file.read() if self._file is not None else "")
        if rotated:
            self.__exit__()
            self._open()
            text += self._file.read() if self._file is not None else ""
        *complete, self._rest = text.split("\n")
        return complete

    def _rotated(self) -> bool:
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return False
        return self._file is None or not os.path.samestat(now, os.fstat(self._file.fileno()))
