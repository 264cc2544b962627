"""Flow runs that a worker took, and then nothing came of it: the worker died in between."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import psutil

from perdure.flows.service import alive

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

PENDING_S = 60.0
"""A worker that lives starts a pending run's process within this."""
STARTING_S = 90.0
"""A process that was started makes its lock within this, on a machine that is slow and not ours."""
FETCHING_S = 3600.0
"""A worker of containers says that it has made one when that is done, with its image fetched."""


class Unstarted:
    """Looks at pending runs that have no lock here.

    Args:
        clock: In seconds; never set back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[UUID, float] = {}
        """Since when each was seen to be pending without a process."""
        self._types: dict[str, str] = {}
        """Of work pools, by name."""

    def gone(self, client: SyncPrefectClient, pending: Sequence[FlowRun]) -> Iterator[FlowRun]:
        """Those whose worker, or process, has been gone for too long.

        Raises:
            httpx.HTTPError: Prefect does not answer.
        """
        found = {run.id: run for run in pending if _may_be_gone(run)}
        now = self._clock()
        self._since = {id_: self._since.get(id_, now) for id_ in found}
        for id_, since in self._since.items():
            if now - since >= self._limit(client, found[id_]):
                yield found[id_]

    def _limit(self, client: SyncPrefectClient, run: FlowRun) -> float:
        if run.infrastructure_pid is not None:
            return STARTING_S
        return PENDING_S if self._type(client, run.work_pool_name) == "process" else FETCHING_S

    def _type(self, client: SyncPrefectClient, pool: str | None) -> str:
        """The type of a work pool; of one that is gone, as if it were of processes."""
        from prefect.exceptions import ObjectNotFound

        if pool is None:
            return "process"
        if pool not in self._types:
            try:
                self._types[pool] = client.read_work_pool(pool).type
            except ObjectNotFound:
                return "process"
        return self._types[pool]


def _may_be_gone(run: FlowRun) -> bool:
    """Whether the process of a pending run, as its worker named it, is not one that is here.

    Docker's and Kubernetes' workers give other names than a number; they look after their own.
    """
    if run.infrastructure_pid is None:
        return True
    if not run.infrastructure_pid.isdecimal():
        return False
    return not _is_run(int(run.infrastructure_pid), str(run.id))


def _is_run(number: int, flow_run: str) -> bool:
    """Whether a process is that of a flow run; numbers of processes come again, as after a boot."""
    try:
        process = psutil.Process(number)
        if process.uids().real != os.getuid():
            return False
        told = process.environ()
    except psutil.AccessDenied:
        return True
    except (psutil.Error, OverflowError):  # none, or one that has ended
        return False
    except OSError:
        return True
    return not told or told.get(alive.FLOW_RUN) == flow_run  # macOS hides some environments
