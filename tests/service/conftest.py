"""The server of `perdure up`, one for all, and a workspace that is not yet deployed.

Every test has a model of its own, by which it finds what is its own on the server.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import temporary_settings

from perdure import config
from perdure.config import Workspace

CONFIG = """
[model]
name = "{name}"
[data]
target = "rain"
task = "classification"
{more}
"""

QUICK = {
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "1",
    "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT1S",
}
"""So that a test need not wait for the server's slower loops."""


@dataclass
class Server:
    """`perdure.service.server` as a child process."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[str] | None = None
    api: str = ""

    def start(self) -> None:
        if self.port == 0:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        program = [sys.executable, "-P", "-m", "perdure.service.server"]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*program, str(self.folder / "prefect.db"), str(self.port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **QUICK, **self.environment},
                start_new_session=True,
            )
        assert self.process.stdout is not None
        timer = threading.Timer(120, self.process.kill)
        timer.start()
        self.api = self.process.stdout.readline().strip()
        timer.cancel()
        assert self.api, self.log.read_text()

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self._close()

    def stop(self) -> None:
        """As its parent's end stops it."""
        assert self.process is not None
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        finally:
            self.process.kill()
            self._close()

    def _close(self) -> None:
        assert self.process is not None
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        with (
            temporary_settings(updates={"api.url": self.api}),
            get_client(sync_client=True) as client,
        ):
            yield client


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("server"))
    started.start()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def prefect_server(server: Server) -> str:
    """The same server: a second one, as for other tests of flows, would show nothing more."""
    return server.api


@pytest.fixture
def configured(server: Server) -> Iterator[Server]:
    """The server is the one that the user has configured."""
    with temporary_settings(updates={"api.url": server.api}):
        yield server


MakeWorkspace = Callable[..., Workspace]


@pytest.fixture
def make_workspace(tmp_path: Path) -> MakeWorkspace:
    def make(name: str, more: str = "") -> Workspace:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        (root / "perdure.toml").write_text(CONFIG.format(name=name, more=more))
        return config.read(root)

    return make


def elsewhere(ws: Workspace, root: Path) -> Workspace:
    """A workspace of the same model in another folder, as `git clone` makes one."""
    root.mkdir()
    shutil.copy(ws.root / config.CONFIG_NAME, root)
    return config.read(root)


def until(true: Callable[[], bool], seconds: float = 180.0) -> None:
    """Wait for something to happen, which it must within a generous time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """End a process that a test started, and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=12)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    process.wait()
