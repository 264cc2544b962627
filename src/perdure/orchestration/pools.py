"""The work pools that a workspace's deployments need."""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import WorkQueueStatus
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from perdure.config import Workspace
from perdure.errors import PerdureError
from perdure.orchestration import api, names
from perdure.orchestration.names import Name, Pool

DESCRIPTIONS: dict[Pool, str] = {
    "cpu": "Machines without an accelerator: `perdure worker --pool cpu`.",
    "gpu": "Machines with GPUs, one for each run: `perdure worker --pool gpu`.",
}

TYPE = "process"
"""Type of the pools that our workers take runs from."""

FLOWS: tuple[Name, ...] = ("retrain", "ingest")
"""One for each pool that a workspace's deployments may have."""


def template() -> dict[str, Any]:
    """The base job template of a pool for processes, as in `deploy/process.json`.

    A flow run, and its deployment, may name and label itself, and no more: who may ask Prefect for
    a run must not choose its command, environment or working directory.
    """
    return {
        "job_configuration": {
            "command": "python -P -m perdure.service.job",
            "name": "{{ name }}",
            "labels": "{{ labels }}",
        },
        "variables": {
            "description": "Flow runs of Perdure in processes.",
            "type": "object",
            "properties": {
                "name": {
                    "title": "Name",
                    "description": "Name given to infrastructure created by a worker.",
                    "type": "string",
                },
                "labels": {
                    "title": "Labels",
                    "description": "Labels applied to infrastructure created by a worker.",
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                },
            },
            "additionalProperties": False,
        },
    }


def ensure(client: SyncPrefectClient, pool: Pool) -> None:
    """Make the pool where it is missing. One that is there stays as it is, of any type.

    For Docker or Kubernetes, users make the pool themselves, with a template of deploy/. A pool
    with Prefect's own template for processes, as an earlier version of Perdure made it, gets ours.
    """
    try:
        found = client.read_work_pool(pool)
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
        except ObjectAlreadyExists:  # another process made it meanwhile
            return
    else:
        if found.type == TYPE and _is_prefects(found.base_job_template):
            client.update_work_pool(pool, WorkPoolUpdate(base_job_template=template()))


def _is_prefects(found: dict[str, Any]) -> bool:
    """Whether a template is Prefect's own for processes, unchanged by a user.

    Its descriptions differ from version to version.
    """
    from prefect.workers.process import ProcessWorker

    return not found or _used(found) == _used(ProcessWorker.get_default_base_job_template())


def _used(found: dict[str, Any]) -> tuple[object, dict[str, object]]:
    variables = found.get("variables", {}).get("properties", {})
    defaults = {name: one.get("default") or None for name, one in variables.items()}
    return found.get("job_configuration"), defaults


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

    Prefect notices a worker that is gone after a minute. What is not deployed needs no worker.
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
            f"{start} --pool {pool.name}" + (", or restart perdure up" if ours else ""),
        )
    return None
