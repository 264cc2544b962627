"""The workers of one machine: one for its CPU, or one for each of its GPUs, kept going."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

from perdure import parent, waiting
from perdure.config import Workspace
from perdure.config.unattended import MOST_PER_GPU
from perdure.errors import UsageError
from perdure.flows.service import gpus, worker
from perdure.flows.service.names import Pool
from perdure.flows.workspace import open_workspace
from perdure.pauses import Pauses

logger = logging.getLogger("perdure")

STOP_S = 9.5
"""How long the workers may take to end, with their flow runs."""

LOOK_S = 0.5
"""How often it is looked whether a worker has ended."""

LOOK_FOR_GPUS_S = 60.0
"""How often a machine without a GPU is looked at: a driver may be loaded late."""


@dataclass
class Kept:
    """One worker's process, and when it is started again."""

    command: list[str]
    environment: dict[str, str]
    label: str
    process: subprocess.Popen[bytes] | None = None
    pauses: Pauses = field(default_factory=Pauses)
    start_at: float = 0.0
    started: float = 0.0

    def tend(self) -> None:
        """Start the worker where it does not run and its pause is over."""
        now = time.monotonic()
        if self.process is not None and (code := self.process.poll()) is not None:
            self.process = None
            self._pause(now, f"ended with {code}")
        if self.process is None and now >= self.start_at:
            self.started = now
            try:
                self.process = subprocess.Popen(
                    self.command,
                    env=self.environment,
                    stdin=subprocess.PIPE,
                    start_new_session=True,
                )
            except OSError as error:  # no memory, no process number, for now
                self._pause(now, f"cannot be started: {error}")

    def _pause(self, now: float, why: str) -> None:
        pause = self.pauses.after(now - self.started)
        self.start_at = now + pause
        logger.warning("%s %s; started again in %g s.", self.label, why, pause)

    def end(self) -> None:
        """Ask it to end."""
        if self.process is not None:
            with suppress(OSError):
                self.process.send_signal(signal.SIGTERM)

    def see_off(self, deadline: float) -> None:
        """Wait until it is gone; kill it, and what it started, at the deadline."""
        if self.process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=max(deadline - time.monotonic(), 0.0))
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()


def work(workspace: str, pool: Pool, chosen: str | None, per_gpu: int | None) -> None:
    """`perdure worker`: keep this machine's workers going until Ctrl-C.

    Raises:
        UsageError: No GPU is visible; there is no Prefect server; or options that do not fit.
    """
    if pool == "cpu" and (chosen is not None or per_gpu is not None):
        raise UsageError("--gpus and --per-gpu belong to the pool gpu", hint="--pool gpu")
    if per_gpu is not None and per_gpu > MOST_PER_GPU:
        raise UsageError(f"--per-gpu {per_gpu}: a GPU has {MOST_PER_GPU} shares at most")
    run(open_workspace(workspace), pool, chosen, per_gpu)


def plan(ws: Workspace, pool: Pool, chosen: str | None, per_gpu: int | None) -> list[Kept]:
    """The workers to keep.

    Args:
        ws: Their workspace.
        pool: Where they take flow runs from.
        chosen: The GPUs, separated by commas; None: all that are visible.
        per_gpu: Workers on each GPU, which share it with nobody else; None: one, which shares it
            with those of other workspaces as `resources.per_gpu` says.

    Raises:
        UsageError: A GPU is needed, and none is visible; or there is no Prefect server.
    """
    inherited = dict(os.environ)
    if "PREFECT_API_URL" not in inherited:
        from perdure.flows.service import api  # Prefect, which this process else does without

        inherited["PREFECT_API_URL"] = api.address(ws)
    if pool == "cpu":
        return [Kept(worker.command("cpu"), worker.environment(ws, inherited), "The worker")]
    shares = per_gpu or ws.config.resources.per_gpu
    return [
        Kept(
            worker.command("gpu", gpu, shares),
            worker.environment(ws, inherited, gpu),
            f"The worker on GPU {gpu}",
        )
        for gpu in gpus.visible(chosen, os.environ)
        for _ in range(per_gpu or 1)
    ]


def run(
    ws: Workspace, pool: Pool, chosen: str | None, per_gpu: int | None, *, of_up: bool = False
) -> None:
    """Keep the workers going until SIGTERM or SIGINT.

    Args:
        ws: Their workspace.
        pool: Where they take flow runs from.
        chosen: The GPUs, separated by commas; None: all that are visible.
        per_gpu: Workers on each GPU; see `plan`.
        of_up: As a part of `perdure up`: wait where this machine has no GPU, and end too when
            standard input ends.

    Raises:
        UsageError: A GPU is needed, and none is visible.
    """
    kept: list[Kept] = []
    ended = threading.Event()

    def lacks() -> str | None:
        try:
            kept[:] = plan(ws, pool, chosen, per_gpu)
        except UsageError as error:
            if not of_up:
                raise
            return f"{error.message}, and runs of the pool {pool} are for a worker elsewhere"
        return None

    before = {
        number: signal.signal(number, lambda *_: ended.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    if of_up:
        parent.end_with()
    try:
        waiting.until_none(lacks, LOOK_FOR_GPUS_S, ended.wait)
        while not ended.is_set():
            for one in kept:
                one.tend()
            ended.wait(LOOK_S)
    finally:
        deadline = time.monotonic() + STOP_S
        for one in kept:
            one.end()
        for one in kept:
            one.see_off(deadline)
        for number, handler in before.items():
            signal.signal(number, handler)
