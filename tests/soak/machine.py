"""A machine on which `perdure up` runs, as its user and its init system see it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from perdure import running, server_secret
from perdure.flows.status import status
from perdure.running import Running
from tests.promises import kit

PERDURE = (sys.executable, "-P", "-m", "perdure")
CONFIG = """
[trigger]
debounce = 0.5
max_wait = 3
"""
"""For tests that would rather not wait."""


def workspace(root: Path, more: str = CONFIG) -> Path:
    """A workspace with one experience pending, and a model that trains in no time."""
    return kit.make(root, more=more)


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a user with nothing configured, whose home is in a folder."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    own = {"HOME": str(home), "PREFECT_HOME": str(home / "prefect"), "OMP_NUM_THREADS": "1"}
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PREFECT_")}
    return {**kept, **own, **more}


class Machine:
    """`perdure up` in a workspace."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.root = root
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None
        self.log = root.parent / f"{root.name}-up.log"

    def up(self) -> None:
        """Start it, as an init system does."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*PERDURE, "up", "--workspace", str(self.root)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self, number: int = signal.SIGTERM, seconds: float = 15.0) -> int:
        """End it with a signal, and wait."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=seconds)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def running(self) -> Running | None:
        """What it says of itself."""
        return running.read(self.root / ".perdure")

    def perdure(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command in the workspace."""
        return subprocess.run(
            [*PERDURE, *arguments, "--workspace", str(self.root)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command in the workspace."""
        return subprocess.Popen(
            [*PERDURE, *arguments, "--workspace", str(self.root)],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def status(self) -> dict[str, Any]:
        """What `perdure status` shows; read in this process, for it is asked again and again."""
        return status(str(self.root))

    def api(self, path: str, body: object | None = None) -> Any:
        """Ask Prefect's API; None: it does not answer, or is not there."""
        here = self.running()
        if here is None or here.prefect_api is None:
            return None
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.request(
                "GET" if body is None else "POST", f"{here.prefect_api}{path}", json=body,
                timeout=10, auth=server_secret.login(self.root / ".perdure"),
            )  # fmt: skip
            if answer.is_success:
                return answer.json() if answer.content else {}
        return None

    def runs(self, *states: str) -> list[dict[str, Any]] | None:
        """Flow runs by the type of their state; None: nobody answers."""
        wanted = {"state": {"type": {"any_": list(states)}}} if states else {}
        found = self.api("/flow_runs/filter", {"flow_runs": wanted, "limit": 200})
        return None if found is None else list(found)

    def processes(self) -> list[psutil.Process]:
        """Every process that belongs to the workspace, wherever it hangs in the tree."""
        mine = str(self.root)
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                belongs = process.environ().get("PERDURE_WORKSPACE") == mine
                if belongs or any(mine in word for word in process.cmdline()):
                    found.append(process)
        me = {os.getpid(), *(one.pid for one in psutil.Process().parents())}
        return [one for one in found if one.pid not in me]


def wait(what: Callable[[], object], seconds: float, why: str) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: It is not, after so many seconds.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return
        time.sleep(0.25)
    raise AssertionError(f"not within {seconds:g} s: {why}")


@contextlib.contextmanager
def machine(root: Path, environment: dict[str, str]) -> Iterator[Machine]:
    """A machine; whatever becomes of it, nothing of it is left running."""
    one = Machine(root, environment)
    try:
        yield one
    finally:
        if one.alive:
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.stop()
        for process in one.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
