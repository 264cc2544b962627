"""Prefect's worker for processes, as a workspace that nobody watches needs it."""

from __future__ import annotations

import abc
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelled
from prefect.utilities.processutils import command_to_string
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

from perdure.flows.service import job, warm_client

if TYPE_CHECKING:
    from prefect.client.schemas.responses import WorkerFlowRunResponse

logger = logging.getLogger("perdure")

NEVER = datetime.min.replace(tzinfo=UTC)


def command() -> str:
    """What starts a flow run's process: a fork of the warm process, where `perdure up` has one."""
    if place := os.environ.get(warm_client.PLACE):
        client = str(Path(warm_client.__file__).resolve())
        return command_to_string([sys.executable, "-I", "-S", client, place, job.MODULE])
    return command_to_string([sys.executable, "-P", "-m", job.MODULE])


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

    @property
    def running(self) -> int:
        """How many flow runs there are."""
        return self.limiter.borrowed_tokens if self._limiter is not None else 0

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Take what is due; nothing, while Prefect does not answer."""
        if self.leaving:
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

    def _say_away(self, error: Exception) -> None:
        if not self._away:
            logger.warning("Prefect does not answer (%s); asking on.", error or type(error))
        self._away = True

    async def _get_scheduled_flow_runs(self) -> list[WorkerFlowRunResponse]:
        due = await super()._get_scheduled_flow_runs()
        extra = overtaken([one.flow_run for one in due])
        for run in extra:
            note = "A later run of the schedule is due as well, and one is enough."
            with suppress(httpx.HTTPError):
                await self.client.set_flow_run_state(run, Cancelled(message=note))
        return [one for one in due if one.flow_run.id not in extra]

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
