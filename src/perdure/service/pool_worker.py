"""Prefect's worker of a pool, as an unattended workspace needs it."""

from __future__ import annotations

import abc
import asyncio
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import anyio.abc
import httpx
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import InfrastructureNotFound, ObjectNotFound
from prefect.states import Cancelled
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorker, BaseWorkerResult

from perdure.blocked import Reason
from perdure.errors import LockHeld
from perdure.orchestration import pools
from perdure.secrets import in_text
from perdure.service import gpus
from perdure.service.forkserver import Forkserver, Run

logger = logging.getLogger("perdure")

LOOK_S = 2.0
"""How often a worker asks whether one of its flow runs is cancelled."""

CANCEL_S = 30.0
"""How long a flow run that is cancelled may take to end; Prefect's own workers allow the same."""

LONG_OUTAGE_S = 30.0
"""After which Prefect no longer sees that a run that waits for its process is cancelled."""


class Configuration(BaseJobConfiguration):
    """The environment of a flow run: nothing that a run, a deployment or a pool asks for.

    Otherwise, a request for a run could run any command as the worker's user.
    """

    def prepare_for_flow_run(self, *arguments: Any, **named: Any) -> None:
        """Set what Prefect's engine reads of a flow run."""
        self.env = {}
        self.command = None
        super().prepare_for_flow_run(*arguments, **named)

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of the worker, and what Prefect's engine reads."""
        return {**os.environ, **{k: v for k, v in self.env.items() if v is not None}}


class Result(BaseWorkerResult):
    """How a flow run's process ended."""


# ABC among the bases, or else Prefect takes it for its own worker of the type "process".
class Worker(BaseWorker[Configuration, BaseVariables, Result], abc.ABC):
    """Prefect's worker, which a server that is away for an hour does not end.

    Args:
        forkserver: What starts its flow runs.
        shares: The GPUs that it gives them; None: it has none to give.
        options: Those of Prefect's worker.
    """

    type = pools.TYPE
    job_configuration = Configuration

    def __init__(
        self, forkserver: Forkserver, shares: gpus.Shares | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.runs: dict[str, Run] = {}
        """Its flow runs, by the process id."""
        self.leaving = False
        """Takes no more flow runs."""
        self.outdated = asyncio.Event()
        """It has no flow runs, and a new worker has to take its place."""
        self._forkserver = forkserver
        self._shares = shares
        self._no_gpu = Reason()
        self._of_others = False
        self._away_since: float | None = None
        self._was_away_long = False

    @classmethod
    def get_default_base_job_template(cls) -> dict[str, Any]:
        """The template of a pool that the worker makes itself."""
        return pools.template()

    @property
    def running(self) -> int:
        """How many flow runs there are, with those that are being started."""
        return self.limiter.borrowed_tokens if self.is_setup else 0

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Take what is due; nothing, while Prefect does not answer."""
        self._forkserver.preload()  # not before it has started: ten seconds of a core
        if self._was_away_long and not self.running:
            self.leaving = True
            self.outdated.set()
        if self.leaving or self._of_others or self._lacks_gpu():
            return []
        try:
            found = await super().get_and_submit_flow_runs()
        except httpx.HTTPError as error:
            self._note_away(error)
            return []
        except RuntimeError as error:
            # A run that was suspended, and is answered while its process is still ending: it is
            # counted once, and taken a moment later.
            logger.info("No flow run is taken for now: %s", error)
            return []
        self._note_back()
        return found

    async def sync_with_backend(self) -> None:
        """Say that this worker lives; go on where Prefect does not answer."""
        try:
            await super().sync_with_backend()
        except httpx.HTTPError as error:
            self._note_away(error)
        else:
            # The pool may be made again, of another type: then another worker takes its runs.
            self._of_others = self.work_pool.type != self.type

    def _lacks_gpu(self) -> bool:
        if self._shares is None or self.running >= self._shares.runs:
            return False
        why = self._shares.lacking()
        self._no_gpu.say(why)
        return why is not None

    def _note_away(self, error: Exception) -> None:
        if self._away_since is None:
            text = in_text(str(error)) or type(error).__name__
            logger.warning("Prefect does not answer (%s); asking on.", text)
            self._away_since = time.monotonic()

    def _note_back(self) -> None:
        if self._away_since is not None:
            logger.info("Prefect answers again.")
            self._was_away_long |= time.monotonic() - self._away_since > LONG_OUTAGE_S
            self._away_since = None

    async def run(
        self,
        flow_run: FlowRun,
        configuration: Configuration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> Result:
        """Run a flow run as a process of its own, and end it where it is cancelled."""
        async with self._gpu() as gpu, self._process(configuration, gpu) as run:
            if task_status is not None:
                task_status.started(run.pid)
            cancelled = await self._cancelled(flow_run, run)
            code = await run.exit_code()
        # Else Prefect's worker would call a cancelled run crashed.
        return Result(status_code=0 if cancelled else code, identifier=str(run.pid))

    @asynccontextmanager
    async def _process(
        self, configuration: Configuration, gpu: dict[str, str]
    ) -> AsyncIterator[Run]:
        """A flow run's process, in a folder that is gone afterwards; it ends with this."""
        with tempfile.TemporaryDirectory(prefix="perdure-", ignore_cleanup_errors=True) as folder:
            environment = {**configuration.environment, **gpu}
            run = await self._forkserver.start(environment, folder)
            self.runs[str(run.pid)] = run
            try:
                yield run
            finally:
                if not run.ended:  # Prefect's worker failed
                    run.kill()
                del self.runs[str(run.pid)]

    @asynccontextmanager
    async def _gpu(self) -> AsyncIterator[dict[str, str]]:
        """The environment that shows a flow run its GPUs, which are kept for it."""
        with ExitStack() as held:
            found: dict[str, str] = {}
            while self._shares is not None and not found:
                try:
                    found = {gpus.VISIBLE: held.enter_context(self._shares.take())}
                except LockHeld:  # others have been quicker
                    await asyncio.sleep(LOOK_S)
            yield found

    async def _cancelled(self, flow_run: FlowRun, run: Run) -> bool:
        """Wait until a flow run has ended; whether that was because it was cancelled."""
        while not await run.wait(LOOK_S):
            with suppress(httpx.HTTPError, ObjectNotFound):
                now = await self.client.read_flow_run(flow_run.id)
                if now.state is not None and now.state.is_cancelling():
                    await run.end(CANCEL_S)
                    await self._say_cancelled(flow_run)
                    return True
        return False

    async def _say_cancelled(self, flow_run: FlowRun) -> None:
        state: State[Any] = Cancelled(
            message="The flow run was cancelled, and its process has ended."
        )
        while True:
            try:
                await self.client.set_flow_run_state(flow_run.id, state, force=True)
            except ObjectNotFound:
                return
            except httpx.HTTPError as error:
                self._note_away(error)
                await asyncio.sleep(LOOK_S)
            else:
                return

    async def kill_infrastructure(
        self, infrastructure_pid: str, configuration: Configuration, grace_seconds: int = 30
    ) -> None:
        """End the process of a flow run that is cancelled before it began.

        Raises:
            InfrastructureNotFound: There is none.
        """
        run = self.runs.get(infrastructure_pid)
        if run is None:
            raise InfrastructureNotFound(f"there is no process {infrastructure_pid} of this worker")
        await run.end(grace_seconds)
