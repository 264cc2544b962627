"""A supervisor in a process of its own, with parts that a test chooses."""

from __future__ import annotations

import json
import os
import signal
import socket
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
from perdure.service import process_group

LONG = 30.0
"""Seconds that anything may take that should happen soon."""


def eventually(look: Callable[[], Any], limit_s: float = LONG) -> Any:
    """The first truthy answer; fails if there is none in time."""
    deadline = time.monotonic() + limit_s
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Up:
    """A supervisor and all that belongs to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / ".perdure"
        self.seen: set[psutil.Process] = set()
        self.process: subprocess.Popen[str] | None = None

    def start(self, *parts: dict[str, Any], factor: float = 0.1, nohup: bool = False) -> None:
        """Start the driver; does not wait."""
        command = [sys.executable, "-m", "tests.service.up.driver", str(self.root), str(factor)]
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
        """All that belongs to it now, the supervisor and its reaper too."""
        found = set(process_group.alive(process_group.of_folder(running.folder(self.state))))
        if self.process is not None and self.process.poll() is None:
            found.add(psutil.Process(self.process.pid))
        self.seen |= found
        return found

    def reaper(self) -> psutil.Process:
        (found,) = (
            one for one in self.processes() if one.environ().get(process_group.PART) == "reaper"
        )
        return found

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def output(self, limit_s: float = LONG) -> str:
        """Wait for its end; everything that it printed."""
        assert self.process is not None
        return self.process.communicate(timeout=limit_s)[0]

    def log(self, part: str) -> str:
        path = running.log_path(self.state, part)
        return path.read_text() if path.exists() else ""

    def left(self) -> list[psutil.Process]:
        """Who lives of all that were ever seen."""
        self.processes()
        return [one for one in self.seen if process_group.lives(one)]


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
    process_group.end(process_group.of_folder(running.folder(one.state)), 0.0, 10.0)
