"""The form of the deployment `rollback` on Prefect's page: the versions to choose from.

It offers the versions there are when it was last written: by `perdure deploy`, by each flow that
changes the registry, and by the watcher. Prefect refuses a run for any other version.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import httpx

from perdure.config import Workspace
from perdure.errors import PerdureError, UsageError
from perdure.orchestration import api, names, registry_identity
from perdure.secrets import in_text
from perdure.tasks.registry.state import StateReader

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

logger = logging.getLogger("perdure")

NAMED = 20
"""So many of the newest versions the description names."""

_written: dict[str, tuple[int | None, int]] = {}
"""Champion and number of events for which this process wrote the form, by registry and model."""


def refresh(ws: Workspace) -> None:
    """Write the form again where the registry has changed since this process last did.

    Nothing is raised: what goes wrong is logged, and tried again by the next call.
    """
    try:
        reader = StateReader(ws)
        state = reader.read()
        if state is None or state.changing:
            return
        key, now = f"{reader.client.uri} {reader.name}", (state.champion, state.events)
        if _written.get(key) != now:
            with api.client(ws, retries=0) as client:
                _write(client, ws)
            _written[key] = now
    except UsageError:  # no Prefect server is configured, and none runs
        return
    except (PerdureError, httpx.HTTPError, OSError, RuntimeError) as error:
        logger.warning(
            "The rollback form on Prefect's page does not offer the newest versions: %s",
            in_text(str(error)),
        )


def with_versions(ws: Workspace, form: dict[str, Any]) -> dict[str, Any]:
    """The form with the versions there are now; as it is where there are none.

    Args:
        ws: The workspace.
        form: The JSON schema of the parameters of the flow `rollback`.

    Raises:
        Unreachable: MLflow does not answer.
    """
    reader = StateReader(ws)
    state, there = reader.read(), reader.versions()[::-1]
    if state is None or not there:
        return form
    serves = state.champion
    listed = [f"version {n} (serves)" if n == serves else f"version {n}" for n in there[:NAMED]]
    more = ", …" if len(there) > NAMED else ""
    to = {key: form["properties"]["to"][key] for key in ("title", "position")}
    to |= {
        "type": "integer",
        "enum": list(there),
        "description": "By default the version that the champion replaced. "
        f"There are: {', '.join(listed)}{more}.",
    }
    return {**form, "properties": {**form["properties"], "to": to}}


def _write(client: SyncPrefectClient, ws: Workspace) -> None:
    from prefect.client.schemas.actions import DeploymentUpdate
    from prefect.exceptions import ObjectNotFound

    try:
        found = client.read_deployment_by_name(names.full("rollback", ws.config.model.name))
    except ObjectNotFound:  # `perdure deploy` makes it
        return
    form = found.parameter_openapi_schema or {}
    if registry_identity.is_elsewhere(ws, found.tags) or "to" not in form.get("properties", {}):
        return
    wanted = with_versions(ws, form)
    if wanted != form:
        client.update_deployment(found.id, DeploymentUpdate(parameter_openapi_schema=wanted))
