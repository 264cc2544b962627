"""Events of Perdure's in Prefect: hints of when, never of what (promise 4)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid4

from perdure.config import Workspace
from perdure.errors import PerdureError
from perdure.orchestration import api, names
from perdure.records import IN_MLFLOW, to_json

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

logger = logging.getLogger("perdure")

EventName = Literal[
    "perdure.data.arrived",
    "perdure.model.promoted",
    "perdure.model.waiting",
    "perdure.model.refused",
    "perdure.model.rolled-back",
    "perdure.experience.held",
    "perdure.run.crashed",
    "perdure.drift.detected",
    "perdure.metric.fell",
]

BY = "perdure.by"
"""Label of an event's resource: whose doing it was. A promotion of Perdure's own starts nothing."""
OURSELVES = "perdure"


Heard = tuple[int, str | None]
"""How many events there are, and the id of one of them; it differs when another one came."""


def resource(ws: Workspace, by: str = OURSELVES) -> dict[str, str]:
    """The workspace's model as an event's resource."""
    model = ws.config.model.name
    return {
        "prefect.resource.id": names.resource(model),
        "prefect.resource.name": model,
        "perdure.workspace": str(ws.root),
        BY: by,
    }


def emit(name: EventName, ws: Workspace, payload: Mapping[str, Any]) -> bool:
    """Send an event; where Prefect does not answer, say so in the log and go on.

    Args:
        name: The event.
        ws: The workspace.
        payload: Facts about it, as JSON values.

    Returns:
        Whether Prefect has it.
    """
    try:
        send(name, ws, payload)
    except (PerdureError, OSError, RuntimeError, ValueError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        logger.warning("The event %s could not be sent to Prefect: %s", name, why)
        return False
    return True


def send(
    name: EventName,
    ws: Workspace,
    payload: Mapping[str, Any],
    *,
    id: UUID | None = None,  # noqa: A002 - an event's own word for it
) -> None:
    """Send an event.

    Args:
        name: The event.
        ws: The workspace.
        payload: Facts about it, as JSON values.
        id: Prefect takes an event with a known id for the same one, and acts on it once.

    Raises:
        UsageError: There is no server.
        Unreachable: It does not answer.
        Fault: It refuses the event.
    """
    event = {
        "id": str(id or uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": name,
        "resource": resource(ws, IN_MLFLOW if payload.get("by") == IN_MLFLOW else OURSELVES),
        "payload": to_json(payload),
    }
    with api.client(ws, retries=0) as client:
        client.request("POST", "/events", json=[event]).raise_for_status()


def heard(client: SyncPrefectClient, name: str, resource: str) -> Heard:
    """What Prefect has of the events with a name of a resource, whatever their dates are.

    Raises:
        httpx.HTTPError: Prefect does not answer.
    """
    wanted = {
        # By default up to now, and clocks differ.
        "occurred": {"since": "1970-01-01T00:00:00Z", "until": "9999-01-01T00:00:00Z"},
        "event": {"name": [name]},
        "resource": {"id": [resource]},
    }
    answer = client.request("POST", "/events/filter", json={"filter": wanted, "limit": 1})
    found = answer.raise_for_status().json()
    return found["total"], found["events"][0]["id"] if found["events"] else None
