"""A supervisor in a process of its own, with parts that a test chooses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from perdure import running
from perdure.running import Running
from perdure.up import kin

LONG = 30.0
"""Seconds that anything may take that should happen soon."""


def eventually(look: Callable[[], Any], limit_s: float = LONG) -> Any:
    """The first truthy answer; fails if there is none in time."""
    deadline = time.monotonic() + limit_s
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


class Up:
    """A supervisor and all that belongs to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / ".perdure"
        self.seen: set[psutil.Process] = set()
        self.process: subprocess.Popen[str] | None = None

    def start(self, *parts: dict[str, Any], factor: float = 0.1, nohup: bool = False) -> None:
        """Start the driver; does not wait."""
        command = [sys.executable, "-m", "tests.up.driver", str(self.root), str(factor)]
        (self.root / "parts.json").write_text(json.dumps(parts))
        self.process = subprocess.Popen(
            ["nohup", *command, "nohup"] if nohup else command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            start_new_session=True,
        )

    def ready(self) -> Running:
        """Wait until everything runs."""
        now: Running = eventually(lambda: (now := self.now()) and now.state == "ready" and now)
        return now

    def now(self) -> Running | None:
        return running.read(self.state)

    def processes(self) -> set[psutil.Process]:
        """All that belongs to it now, the supervisor and its keeper too."""
        found = set(kin.alive(kin.of_place(running.folder(self.state))))
        if self.process is not None and self.process.poll() is None:
            own = psutil.Process(self.process.pid)
            found |= {own, *own.children(recursive=True)}
        self.seen |= found
        return found

    def keeper(self) -> psutil.Process | None:
        assert self.process is not None
        for one in psutil.Process(self.process.pid).children():
            if "perdure.up.keeper" in one.cmdline():
                return one
        return None

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def said(self, limit_s: float = LONG) -> str:
        """Wait for its end; everything that it said."""
        assert self.process is not None
        return self.process.communicate(timeout=limit_s)[0]

    def log(self, part: str) -> str:
        path = running.log_path(self.state, part)
        return path.read_text() if path.exists() else ""

    def left(self) -> list[psutil.Process]:
        """Who lives of all that were ever seen."""
        self.processes()
        return [one for one in self.seen if kin.lives(one)]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    (tmp_path / "perdure.toml").write_text(
        '[model]\nname = "weather"\n[data]\ntarget = "rain"\ntask = "classification"\n'
    )
    one = Up(tmp_path)
    yield one
    if one.process is not None:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGKILL)
        one.process.wait()
        if one.process.stdout is not None:
            one.process.stdout.close()
    if running.folder(one.state).exists():
        kin.end(kin.of_place(running.folder(one.state)), 0.0, 10.0)
