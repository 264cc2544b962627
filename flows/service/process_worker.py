"""Prefect's worker for processes, as a workspace that nobody watches needs it."""

from __future__ import annotations

import abc
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
from prefect import Flow, get_client
from prefect._internal import observers
from prefect.client.schemas.objects import FlowRun, State, StateDetails, StateType
from prefect.flows import load_flow_from_flow_run
from prefect.states import Cancelled, Pending
from prefect.utilities.processutils import command_to_string
from prefect.utilities.services import critical_service_loop
from prefect.workers import base, process
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

from perdure import config
from perdure.addresses import in_text
from perdure.errors import PerdureError
from perdure.flows.service import belonging, job, warm_client
from perdure.flows.workspace import root_of

if TYPE_CHECKING:
    from prefect.client.schemas.responses import WorkerFlowRunResponse

logger = logging.getLogger("perdure")

NEVER = datetime.min.replace(tzinfo=UTC)

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)

OURS = "perdure.flows."
"""How the entrypoints of our deployments begin."""


def command() -> str:
    """What starts a flow run's process: a fork of the warm process, where `perdure up` has one."""
    if place := os.environ.get(warm_client.PLACE):
        client = str(Path(warm_client.__file__).resolve())
        return command_to_string([sys.executable, "-I", "-S", client, place, job.MODULE])
    return command_to_string([sys.executable, "-P", "-m", job.MODULE])


async def flow_of(run: FlowRun) -> Flow[..., Any]:
    """The flow of a run that crashed or was cancelled, whose hooks Prefect's worker runs.

    For that it imports the flow, some two hundred modules of which this process keeps 20 MB, and
    cannot end meanwhile: seconds on a busy machine. Perdure's own flows have no hooks.
    """
    async with get_client() as client:
        deployment = await client.read_deployment(run.deployment_id) if run.deployment_id else None
    if deployment is not None and (deployment.entrypoint or "").startswith(OURS):
        return Flow(_without_hooks, name=deployment.name)
    return await load_flow_from_flow_run(flow_run=run)


def _without_hooks() -> None:
    """Stands for a flow of ours."""


async def poll_on(workload: Callable[[], Awaitable[object]], interval: float, **how: Any) -> None:
    """Look for runs to cancel, and go on looking where Prefect does not answer.

    Prefect's own loop ends after some failures, four minutes without a server; from then on a
    run that waits for its process cannot be cancelled while this worker lives.
    """

    async def once() -> None:
        with suppress(httpx.HTTPError):
            await workload()

    await critical_service_loop(once, interval, **how)


def taken(**options: Any) -> State[Any]:
    """The state of a run that this worker has taken, because it is due.

    Prefect's own `Pending()` keeps the time that the run was scheduled for, and the server lets
    the run wait for it: for three days, where the clock was set back by three days in between.
    """
    due = StateDetails.model_validate({"scheduled_time": LONG_AGO})
    return Pending(state_details=due, **options)


vars(base).update(Pending=taken)
vars(process).update(load_flow_from_flow_run=flow_of)
vars(observers).update(critical_service_loop=poll_on)


class Job(ProcessJobConfiguration):
    """A process with the bounds of `[resources]`, unless the pool names a command."""

    def prepare_for_flow_run(self, *args: Any, **kwargs: Any) -> None:
        """As Prefect's; with a command, which Prefect starts at once.

        Without, it starts a process that looks for the code, and that one another.
        """
        if self.command is None:
            self.command = command()
        super().prepare_for_flow_run(*args, **kwargs)


# ABC among the bases, or else Prefect takes it for its own worker of the type "process".
class Worker(ProcessWorker, abc.ABC):
    """Prefect's worker, which a server that is away for an hour does not end.

    Prefect's own ends after some failures, and its flow runs with it. The methods whose names
    begin with an underscore are those of Prefect 3.8.
    """

    job_configuration = Job

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.leaving = False
        """Takes no more flow runs."""
        self._away = False
        self._left: set[UUID] = set()

    @property
    def running(self) -> int:
        """How many flow runs there are."""
        return self.limiter.borrowed_tokens if self._limiter is not None else 0

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Take what is due; nothing, while Prefect does not answer."""
        if self.leaving or self._is_of_others():
            return []
        try:
            found = await super().get_and_submit_flow_runs()
        except httpx.HTTPError as error:
            self._say_away(error)
            return []
        if self._away:
            self._away = False
            logger.info("Prefect answers again.")
        return found

    async def sync_with_backend(self) -> None:
        """Say that this worker lives; go on where Prefect does not answer."""
        try:
            await super().sync_with_backend()
        except httpx.HTTPError as error:
            self._say_away(error)

    def _is_of_others(self) -> bool:
        """Whether the pool was made anew since, of another type: Prefect's own worker goes on."""
        return self._work_pool is not None and self._work_pool.type != self.type

    def _say_away(self, error: Exception) -> None:
        if not self._away:
            said = in_text(str(error)) or type(error).__name__
            logger.warning("Prefect does not answer (%s); asking on.", said)
        self._away = True

    async def _get_scheduled_flow_runs(self) -> list[WorkerFlowRunResponse]:
        found = await super()._get_scheduled_flow_runs()
        # One that was suspended, and is answered while its process is still ending, would end the
        # worker with all its runs: Prefect counts each once. It is taken a moment later.
        ending = set(self.limiter.statistics().borrowers)
        due = [one for one in found if one.flow_run.id not in ending and self._is_mine(one)]
        extra = overtaken([one.flow_run for one in due])
        for run in extra:
            note = "A later run of the schedule is due as well, and one is enough."
            with suppress(httpx.HTTPError):
                await self.client.set_flow_run_state(run, Cancelled(message=note))
        return [one for one in due if one.flow_run.id not in extra]

    def _is_mine(self, due: WorkerFlowRunResponse) -> bool:
        """Whether a run is not for another registry, whose worker will take it."""
        run = due.flow_run
        try:
            if not belonging.is_elsewhere(config.read(root_of(".")), run.tags):
                return True
        except PerdureError:  # the flow itself will say what is wrong with the workspace
            return True
        if run.id not in self._left:
            self._left.add(run.id)
            logger.warning("Flow run %s is for another registry, and is left.", run.name)
        return False

    async def _submit_run(self, flow_run: FlowRun) -> None:
        try:
            await super()._submit_run(flow_run)
        except httpx.HTTPError as error:  # it would end the worker
            self._say_away(error)
            self._submitting_flow_run_ids.discard(flow_run.id)
            self._release_limit_slot(flow_run.id)


def overtaken(due: Sequence[FlowRun]) -> set[UUID]:
    """After downtime, the runs of a deployment's schedule that a later one makes needless.

    What people or events started stays.
    """
    newest: dict[UUID | None, datetime] = {}
    scheduled = [one for one in due if one.auto_scheduled and one.state_type == StateType.SCHEDULED]
    for one in scheduled:
        at = one.expected_start_time or NEVER
        newest[one.deployment_id] = max(newest.get(one.deployment_id, NEVER), at)
    return {
        one.id
        for one in scheduled
        if (one.expected_start_time or NEVER) < newest[one.deployment_id]
    }
