"""`perdure deploy`: the workspace's deployments in Prefect, their schedule and their forms.

Each deployment is declared by Prefect's own `RunnerDeployment`. It is written by the client, not
by its method `apply`, which would end a person's pause, replace job variables, and remove the
schedules that people added in Prefect's page (ADR 42).
"""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError
from prefect.types.entrypoint import EntrypointType
from prefect.utilities.callables import parameter_schema
from prefect.utilities.urls import url_for

from perdure import __version__, running
from perdure.config import CONFIG_NAME, Workspace
from perdure.errors import Unreachable, UsageError
from perdure.orchestration import api, names, pools, registry_identity, rollback_form
from perdure.orchestration.names import Name, Pool
from perdure.records import Applied, Deployed, DeployedFlow
from perdure.secrets import without_secrets
from perdure.service import automations
from perdure.service.notify import receivers
from perdure.service.timetable import in_words, timetable
from perdure.workspace import open_workspace

logger = logging.getLogger("perdure")

T = TypeVar("T")

SLUG = "perdure"
"""Names our schedule among those that people add in Prefect's page, which stay."""

TRIES = 5
"""Against another `perdure deploy` at the same time."""

PARAMETERS: dict[str, dict[str, Any]] = {
    "retrain": {"inbox": True, "min_rows": 0, "wait": 15},
    "rollback": {"wait": 60},
    "promote": {"wait": 60},
}
"""Defaults of the deployments, where they differ from the flows'."""

FIELDS: dict[str, tuple[str, int | None]] = {
    "paths": ("Files", None),
    "settled": ("Leave what has just changed", None),
    "inbox": ("Ingest the inbox first", None),
    "min_rows": ("Least pending rows", 0),
    "profile": ("Profile the training", None),
    "version": ("Version", 1),
    "to": ("Back to version", 1),
    "reason": ("Reason", None),
    "keep_data": ("Keep the data pending", None),
    "force": ("Force, against the gates", None),
    "wait": ("Wait for the model, in seconds", 0),
}
"""Title and least value of each parameter in Prefect's forms; the workspace is the worker's."""


def run(workspace: str, replace: bool = False) -> Deployed:
    """`deploy`, for the command line."""
    return deploy(open_workspace(workspace), replace)


def deploy(ws: Workspace, replace: bool = False) -> Deployed:
    """Create or update pools, deployments, the schedule and automations of a workspace.

    Run twice, or by two machines at once, it comes to the same. What is as it should be is not
    touched: an update makes Prefect drop the runs that it has scheduled.

    Args:
        ws: The workspace.
        replace: Also replace deployments for another registry. On the server that `perdure up`
            runs for this workspace alone, that is always done.

    Raises:
        UsageError: No Prefect server is configured, and none runs; or the deployments are for
            another registry. Nothing was changed.
        ConfigError: `[schedule]` is none that Prefect knows, or a notice has no address.
        Unreachable: The server does not answer.
    """
    now = running.read(ws.state)
    # Then this process is a part of `perdure up`: in its environment, and before its workers.
    starting = now is not None and now.state == "starting"
    receivers.check(ws, elsewhere=not starting)
    tag = names.registry_tag(registry_identity.named(ws))
    wanted = declared(ws)
    for one in wanted:
        one.tags = [*one.tags, tag]
    with api.client(ws) as client:
        if not replace and not _is_own(ws):
            _refuse_others(client, ws, wanted)
        used: tuple[Pool, ...] = ("cpu", ws.config.resources.pool)
        for pool in dict.fromkeys(used):
            pools.ensure(client, pool)
        flows = tuple(_apply(client, ws, one) for one in wanted)
        for name in names.NAMES:
            _remove_older(client, ws, name)
        ids = [client.read_deployment_by_name(one.full_name).id for one in wanted]
        registry_identity.cancel_others(client, ws, ids)
        if not starting and (lacking := pools.without_worker(client, ws.config.model.name)):
            logger.warning("%s\n  → %s", *lacking)
        automations.remove_older(client, ws)
        applied = tuple(
            _retried(partial(automations.apply, client, one))
            for one in automations.declared(client, ws)
        )
        return Deployed(without_secrets(str(client.api_url)), flows, applied)


def declared(ws: Workspace) -> tuple[RunnerDeployment, ...]:
    """The deployments of a workspace.

    Raises:
        ConfigError: `[schedule]` is none that Prefect knows.
    """
    config, model = ws.config, ws.config.model.name
    timed = timetable(config.schedule, str(ws.root / CONFIG_NAME))
    schedules = [DeploymentScheduleCreate(schedule=timed, active=True, slug=SLUG)] if timed else []
    return tuple(
        RunnerDeployment.from_flow(
            (flow := _flow(name)),
            names.deployment(name, model),
            description=_description(flow),
            version=__version__,
            tags=names.tags(model),
            parameters={"workspace": ".", **PARAMETERS.get(name, {})},
            schedules=schedules if name == "retrain" else [],
            work_pool_name=config.resources.pool if name in ("retrain", "evaluate") else "cpu",
            work_queue_name=names.queue(model, registry_identity.shared(ws)),
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        for name in names.NAMES
    )


def form(name: str) -> dict[str, Any]:
    """The JSON schema of a flow's parameters, as Prefect's page asks for them.

    Args:
        name: The flow, as in `retrain`.
    """
    known = parameter_schema(_flow(name)).model_dump(mode="json")
    defaults = PARAMETERS.get(name, {})
    asked: dict[str, Any] = {}
    for key, about in known["properties"].items():
        if key == "workspace":
            continue
        title, least = FIELDS[key]
        description = " ".join(str(about.get("description", "")).split())
        about |= {"title": title, "position": len(asked), "description": description}
        if least is not None:
            for choice in about.get("anyOf", [about]):
                if choice.get("type") in ("integer", "number"):
                    choice["minimum"] = least
        if key in defaults:
            about["default"] = defaults[key]
        asked[key] = about
    required = [key for key in known.get("required", []) if key in asked]
    return {
        "title": "Parameters",
        "type": "object",
        "properties": asked,
        "required": required,
        "definitions": {},
    }


def _flow(name: str) -> Flow[..., Any]:
    found = getattr(importlib.import_module(f"perdure.flows.{name}"), name)
    assert isinstance(found, Flow)
    return found


def _description(flow: Flow[..., Any]) -> str:
    """The flow's docstring without its sections for programmers."""
    text = inspect.getdoc(flow.fn) or ""
    return text.split("\n\nArgs:")[0].split("\n\nRaises:")[0]


def _is_own(ws: Workspace) -> bool:
    """Whether the server is that of this workspace's own `perdure up`."""
    now = running.read(ws.state)
    return (
        now is not None
        and now.prefect_api == without_secrets(api.address(ws))
        and any(part.name == "server" for part in now.parts)
    )


def _refuse_others(
    client: SyncPrefectClient, ws: Workspace, wanted: Sequence[RunnerDeployment]
) -> None:
    for one in wanted:
        found = _found(client, one.full_name)
        if found is not None and registry_identity.is_elsewhere(ws, found.tags):
            raise UsageError(
                f"the deployments of {ws.config.model.name} in Prefect at "
                f"{without_secrets(str(client.api_url))} stand for another registry than that of "
                f"{ws.root}. Nothing was changed",
                hint=f"{registry_identity.MEND}; or perdure deploy --replace, which takes them "
                "over",
            )


def _found(client: SyncPrefectClient, full_name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(full_name)
    except ObjectNotFound:
        return None


def _apply(client: SyncPrefectClient, ws: Workspace, one: RunnerDeployment) -> DeployedFlow:
    change = _retried(partial(_write, client, ws, one))
    now = client.read_deployment_by_name(one.full_name)
    page = url_for("deployment", obj_id=now.id)
    return DeployedFlow(
        name=one.full_name,
        change=change,
        pool=one.work_pool_name or "",
        schedule=in_words(one.schedules[0].schedule if one.schedules else None),
        paused=now.paused,
        page=page and without_secrets(page),
    )


def _retried(write: Callable[[], T]) -> T:
    """Write; again where another `perdure deploy` wrote the same in this moment."""
    for tries_left in reversed(range(TRIES)):
        try:
            return write()
        except ObjectAlreadyExists:
            if not tries_left:
                raise
        except PrefectHTTPStatusError as error:
            if not tries_left or error.response.status_code not in (404, 409, 503):
                raise
    raise AssertionError("the last try returns or raises")


def _write(client: SyncPrefectClient, ws: Workspace, one: RunnerDeployment) -> Applied:
    """Create the deployment, or update it where it differs; pauses and job variables stay."""
    same = ("version", "description", "tags", "parameters", "entrypoint", "work_pool_name",
            "work_queue_name", "enforce_parameter_schema")  # fmt: skip
    wanted: dict[str, Any] = {key: getattr(one, key) for key in same}
    wanted["parameter_openapi_schema"] = form(one.flow_name or "")
    if one.flow_name == "rollback":
        with suppress(Unreachable):  # MLflow is away; the watcher writes the versions later
            wanted["parameter_openapi_schema"] = rollback_form.with_versions(ws, form("rollback"))
    found = _found(client, one.full_name)
    if found is None:
        flow = client.create_flow_from_name(one.flow_name or "")
        id_ = client.create_deployment(flow, one.name, pull_steps=[], **wanted)
        _reschedule(client, id_, one)
        return "created"
    # An earlier version set a limit; `prefect deploy` sets the folder of one machine.
    changed = found.global_concurrency_limit is not None or bool(found.pull_steps)
    if changed or any(getattr(found, key) != value for key, value in wanted.items()):
        client.update_deployment(
            found.id,
            DeploymentUpdate(
                concurrency_limit=None, concurrency_options=None, pull_steps=[], **wanted
            ),
        )
        changed = True
    return "updated" if _reschedule(client, found.id, one) or changed else "unchanged"


def _reschedule(client: SyncPrefectClient, deployment: UUID, one: RunnerDeployment) -> bool:
    """Make our schedule what it should be, paused or not; whether anything was changed."""
    ours = [each for each in client.read_deployment_schedules(deployment) if each.slug == SLUG]
    wanted = one.schedules[0].schedule if one.schedules else None
    for extra in ours if wanted is None else ours[1:]:
        client.delete_deployment_schedule(deployment, extra.id)
    if wanted is None:
        return bool(ours)
    if not ours:
        client.create_deployment_schedules(deployment, [(wanted, True)], slug=SLUG)
    elif ours[0].schedule != wanted:
        client.update_deployment_schedule(deployment, ours[0].id, schedule=wanted)
    return len(ours) != 1 or ours[0].schedule != wanted


def _remove_older(client: SyncPrefectClient, ws: Workspace, name: Name) -> None:
    """Remove the deployment that an older version made under the model's name alone.

    The new deployment gets the pause and the job variables that a person set there.
    """
    model = ws.config.model.name
    older = _found(client, names.older(name, model))
    if (
        older is None
        or names.model_tag(model) not in older.tags
        or registry_identity.is_elsewhere(ws, older.tags)
    ):
        return
    now = client.read_deployment_by_name(names.full(name, model))
    if older.job_variables:
        try:
            client.update_deployment(now.id, DeploymentUpdate(job_variables=older.job_variables))
        except PrefectHTTPStatusError as error:  # a pool of ours takes none
            logger.warning("The job variables of %s are not kept: %s", older.name, error)
    if older.paused:
        client.pause_deployment(now.id)
    client.delete_deployment(older.id)
