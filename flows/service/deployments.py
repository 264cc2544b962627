"""`perdure deploy`: the workspace's deployments and automations in Prefect's server.

Told twice, or by two at once, it comes to the same. What is as it should be is not touched:
every change of a deployment makes Prefect drop the runs that it has scheduled.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError
from prefect.utilities.urls import url_for

from perdure import running
from perdure.addresses import without_secrets
from perdure.config import Workspace
from perdure.errors import UsageError
from perdure.flows.service import api, automations, belonging, names, notices, pools
from perdure.flows.service.specs import GRACE_S, Spec, Timetable, in_words, specs
from perdure.flows.workspace import open_workspace
from perdure.records import Applied, Deployed, DeployedFlow

logger = logging.getLogger("perdure")

SLUG = "perdure"
"""Names our schedule among those that people add in Prefect's page, which stay."""

TRIES = 5
"""Against others that deploy the same at the same time."""


def run(workspace: str, replace: bool = False) -> Deployed:
    """`deploy`, for the command line."""
    return deploy(open_workspace(workspace, strategies=False), replace)


def deploy(ws: Workspace, replace: bool = False) -> Deployed:
    """Create or update pools, deployments, the schedule and automations of a workspace.

    Args:
        ws: The workspace.
        replace: Also deployments that stand for another registry. On the server that `perdure up`
            runs for this workspace, which is nobody else's, that is always done.

    Raises:
        UsageError: No Prefect server is configured, and none runs; or the deployments stand for
            another registry. Nothing was changed.
        ConfigError: `[schedule]` is none that Prefect knows, or a notice has no address.
        Unreachable: The server does not answer.
    """
    now = running.read(ws.state)
    # Then this is a part of it: in its environment, and before its workers.
    of_up = now is not None and now.state == "starting"
    notices.check(ws, elsewhere=not of_up)
    tag = names.registry_tag(belonging.named(ws))
    wanted = [dataclasses.replace(one, tags=[*one.tags, tag]) for one in specs(ws)]
    with api.client(ws) as client:
        if not replace and not _is_own(ws):
            _refuse_others(client, ws, wanted)
        for pool in dict.fromkeys(("cpu", *(one.pool for one in wanted))):
            pools.ensure(client, pool)
        flows = tuple(_apply(client, one) for one in wanted)
        ids = [client.read_deployment_by_name(one.full_name).id for one in wanted]
        belonging.cancel_others(client, ws, ids)
        if not of_up and (lacking := pools.without_worker(client, ws.config.model.name)):
            logger.warning("%s\n  → %s", *lacking)
        api_url = without_secrets(str(client.api_url))
        return Deployed(api_url, flows, automations.apply(client, ws))


def _is_own(ws: Workspace) -> bool:
    """Whether the server is that of this workspace's own `perdure up`."""
    now = running.read(ws.state)
    return (
        now is not None
        and now.prefect_api == without_secrets(api.address(ws))
        and any(part.name == "server" for part in now.parts)
    )


def _refuse_others(client: SyncPrefectClient, ws: Workspace, wanted: Sequence[Spec]) -> None:
    for spec in wanted:
        try:
            found = client.read_deployment_by_name(spec.full_name)
        except ObjectNotFound:
            continue
        if belonging.is_elsewhere(ws, found.tags):
            raise UsageError(
                f"the deployments of {ws.config.model.name} in Prefect at "
                f"{without_secrets(str(client.api_url))} stand for another registry than that of "
                f"{ws.root}. Nothing was changed",
                hint=f"{belonging.MEND}; or perdure deploy --replace, which takes them over",
            )


def _apply(client: SyncPrefectClient, spec: Spec) -> DeployedFlow:
    for last in (*(False,) * (TRIES - 1), True):
        try:
            change = _once(client, spec)
            break
        except (ObjectAlreadyExists, PrefectHTTPStatusError) as error:
            conflict = isinstance(error, ObjectAlreadyExists) or error.response.status_code in (
                404,
                409,
                503,
            )
            if last or not conflict:
                raise
    now = client.read_deployment_by_name(spec.full_name)
    page = url_for("deployment", obj_id=now.id)
    return DeployedFlow(
        name=spec.full_name,
        change=change,
        pool=spec.pool,
        schedule=in_words(spec.timetable),
        paused=now.paused,
        page=page and without_secrets(page),
    )


def _once(client: SyncPrefectClient, spec: Spec) -> Applied:
    change: Applied = "unchanged"
    try:
        found = client.read_deployment_by_name(spec.full_name)
    except ObjectNotFound:
        client.create_deployment(
            flow_id=client.create_flow_from_name(spec.flow.name),
            name=spec.deployment,
            **_wanted(spec),
        )
        change = "created"
        found = client.read_deployment_by_name(spec.full_name)
    else:
        if _differs(found, spec):
            client.update_deployment(found.id, DeploymentUpdate(**_wanted(spec)))
            change = "updated"
    if _reschedule(client, found, spec.timetable) and change == "unchanged":
        change = "updated"
    return change


def _wanted(spec: Spec) -> dict[str, Any]:
    """What a deployment is made with, and changed to."""
    return {
        "work_pool_name": spec.pool,
        "work_queue_name": spec.queue,
        "concurrency_limit": _limit(spec),
        "concurrency_options": _options(spec),
        "pull_steps": [],
        **_told(spec),
    }


def _told(spec: Spec) -> dict[str, Any]:
    """What is called the same in Prefect's answer."""
    return {
        "version": spec.version,
        "description": spec.description,
        "tags": spec.tags,
        "parameters": spec.parameters,
        "parameter_openapi_schema": spec.schema,
        "enforce_parameter_schema": True,
        "entrypoint": spec.entrypoint,
    }


def _limit(spec: Spec) -> int | None:
    return None if spec.collision is None else 1


def _options(spec: Spec) -> ConcurrencyOptions | None:
    if spec.collision is None:
        return None
    return ConcurrencyOptions.model_validate(
        {"collision_strategy": spec.collision, "grace_period_seconds": GRACE_S}
    )


def _differs(found: DeploymentResponse, spec: Spec) -> bool:
    limit = found.global_concurrency_limit
    return (
        any(getattr(found, key) != value for key, value in _told(spec).items())
        or (found.work_pool_name, found.work_queue_name) != (spec.pool, spec.queue)
        or (limit.limit if limit is not None else None) != _limit(spec)
        or found.concurrency_options != _options(spec)
        or bool(found.pull_steps)  # of `prefect deploy`: a folder of somebody's machine
    )


def _reschedule(
    client: SyncPrefectClient, found: DeploymentResponse, wanted: Timetable | None
) -> bool:
    """Make our schedule what it should be; one that somebody paused stays paused.

    Returns:
        Whether anything was changed.
    """
    ours = [one for one in client.read_deployment_schedules(found.id) if one.slug == SLUG]
    for extra in ours[1:] if wanted is not None else ours:
        client.delete_deployment_schedule(found.id, extra.id)
    if wanted is None:
        return bool(ours)
    if not ours:
        _create_schedule(client, found, wanted)
        return True
    if ours[0].schedule == wanted:
        return len(ours) > 1
    client.update_deployment_schedule(found.id, ours[0].id, active=ours[0].active, schedule=wanted)
    return True


def _create_schedule(
    client: SyncPrefectClient, found: DeploymentResponse, wanted: Timetable
) -> None:
    client.request(
        "POST",
        "/deployments/{id}/schedules",
        path_params={"id": found.id},
        json=[{"schedule": wanted.model_dump(mode="json"), "active": True, "slug": SLUG}],
    ).raise_for_status()
