"""The flow run that waits on Prefect's page for a person to approve the challenger.

There is one for each time that a version becomes the challenger without serving; those of versions
that wait no more are cancelled. It is a convenience: `perdure promote` approves with or without it,
and where Prefect or the deployment is missing nothing is started.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

import httpx

from perdure.config import Workspace
from perdure.errors import PerdureError
from perdure.orchestration import api, names, registry_identity
from perdure.secrets import in_text
from perdure.tasks.registry.state import RegistryState, StateReader

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

logger = logging.getLogger("perdure")

MOST = 200
"""Runs that are looked at in one go."""
ANSWERED = "Resuming"
"""Prefect's name of the state of a run that was answered, and that no worker has taken yet."""

_settled: dict[str, tuple[int | None, int | None, str | None]] = {}
"""For which aliases this process has seen to it, by registry and model."""


def settle(ws: Workspace, *, again: bool = False) -> None:
    """See to it that the challenger that waits has a run, and that no other version has one.

    Nothing is raised: what goes wrong is logged.

    Args:
        ws: The workspace.
        again: Also where this process did it already for the aliases as they are.
    """
    if ws.config.promotion.automatic:
        return
    try:
        reader = StateReader(ws)
        state = reader.read()
        if state is None or state.changing or state.moved:
            return
        key = f"{reader.client.uri} {reader.name}"
        aliases = (state.champion, state.challenger, state.challenger_since)
        if again or _settled.get(key) != aliases:
            with api.client(ws, retries=0) as client:
                _settle(ws, client, state)
            _settled[key] = aliases
    except (PerdureError, httpx.HTTPError, OSError, RuntimeError) as error:
        logger.warning(
            "No run on Prefect's page asks for approval of the challenger, which perdure promote "
            "approves: %s",
            in_text(str(error)),
        )


def _settle(ws: Workspace, client: SyncPrefectClient, state: RegistryState) -> None:
    from prefect.exceptions import ObjectNotFound

    model = ws.config.model.name
    try:
        deployment = client.read_deployment_by_name(names.full("approve", model))
    except ObjectNotFound:  # `perdure deploy` makes it
        return
    if registry_identity.is_elsewhere(ws, deployment.tags):
        return
    version = state.challenger if state.challenger != state.champion else None
    key = None if version is None else _key(ws, version, state.challenger_since)
    _withdraw(client, deployment.id, key)
    if key is not None:
        client.create_flow_run_from_deployment(
            deployment.id, parameters={"version": version}, idempotency_key=key
        )


def _key(ws: Workspace, version: int, since: str | None) -> str:
    """Wait for the approval of a version for as long as it is the challenger."""
    text = f"approve {ws.config.model.name} {registry_identity.registry(ws)} {version} {since}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _withdraw(client: SyncPrefectClient, deployment: UUID, key: str | None) -> None:
    """Cancel the runs that wait for another answer than that of a key.

    One that was answered, or has a process now, finds out by itself that its version waits no more.
    """
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.states import Cancelled

    chosen = filters.FlowRunFilter(
        deployment_id=filters.FlowRunFilterDeploymentId(any_=[deployment]),
        state=filters.FlowRunFilterState(
            type=filters.FlowRunFilterStateType(any_=[StateType.PAUSED, StateType.SCHEDULED])
        ),
    )
    for run in client.read_flow_runs(flow_run_filter=chosen, limit=MOST):
        if run.idempotency_key != key and run.state_name != ANSWERED:
            note = f"Version {(run.parameters or {}).get('version')} waits for approval no more."
            client.set_flow_run_state(run.id, Cancelled(message=note))
