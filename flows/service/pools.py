"""The work pools that a workspace's deployments need."""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import WorkQueueStatus
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from perdure.config import Workspace
from perdure.errors import PerdureError
from perdure.flows.service import api, names
from perdure.flows.service.names import Name, Pool

DESCRIPTIONS: dict[Pool, str] = {
    "cpu": "Machines without an accelerator: `perdure worker --pool cpu`.",
    "gpu": "One worker for each GPU: `perdure worker --pool gpu`.",
}

TYPE = "process"
"""Of the pools that our workers take runs from."""

FLOWS: tuple[Name, ...] = ("retrain", "ingest")
"""One for each pool that a workspace's deployments may have."""


def template() -> dict[str, Any]:
    """Prefect's own base job template for processes."""
    from prefect.workers.process import ProcessWorker

    return ProcessWorker.get_default_base_job_template()


def ensure(client: SyncPrefectClient, pool: Pool) -> None:
    """Make the pool where it is missing. One that is there stays as it is, of any type.

    So whoever wants Docker or Kubernetes makes the pool himself, with a template of deploy/.
    """
    try:
        client.read_work_pool(pool)
    except ObjectNotFound:
        try:
            client.create_work_pool(
                WorkPoolCreate(
                    name=pool,
                    type=TYPE,
                    description=DESCRIPTIONS[pool],
                    base_job_template=template(),
                )
            )
        except ObjectAlreadyExists:  # somebody else, meanwhile
            return


def of_others(ws: Workspace, pool: Pool) -> str | None:
    """Why no worker of ours may take a pool's runs; None: it may, or Prefect does not answer."""
    try:
        with api.client(ws, retries=0) as client:
            kind = client.read_work_pool(pool).type
    except (PerdureError, ObjectNotFound):  # the worker asks on, and makes one that is missing
        return None
    if kind == TYPE:
        return None
    return f"the work pool {pool} is of type {kind}, and its runs are for a worker of that type"


def without_worker(client: SyncPrefectClient, model: str) -> tuple[str, str] | None:
    """What waits because no worker asks for it, and what mends that; None: nothing does.

    Prefect notices a worker that is gone after a minute. What is not deployed waits for nobody.
    """
    for name in FLOWS:
        try:
            found = client.read_deployment_by_name(names.full(name, model))
            pool = client.read_work_pool(found.work_pool_name or "")
            queue = client.read_work_queue_by_name(found.work_queue_name or "", pool.name)
        except ObjectNotFound:
            continue
        if pool.is_push_pool or pool.is_managed_pool or queue.status != WorkQueueStatus.NOT_READY:
            continue
        ours = pool.type == TYPE
        start = "perdure worker" if ours else "prefect worker start"
        return (
            f"no worker takes runs from the work pool {pool.name}, so those of {name} wait",
            f"{start} --pool {pool.name}" + (", or perdure up anew" if ours else ""),
        )
    return None
