"""The automations of a workspace in Prefect: which events start a retraining.

Each may be lost, doubled or late (promise 4): the watcher looks at the inbox and the registry
itself. An automation that a person paused stays paused.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.events.actions import RunDeployment
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from perdure.config import Workspace
from perdure.orchestration import names
from perdure.orchestration.events import BY, OURSELVES
from perdure.records import Applied, DeployedAutomation

CALM_S = 60.0
"""Between two retrainings that drift or a promotion elsewhere start, at least."""

ZOMBIES = "{model}: zombie runs"
"""The name of an automation of earlier versions, which also ended runs that lived (ADR 25)."""


def declared(client: SyncPrefectClient, ws: Workspace) -> tuple[AutomationCore, ...]:
    """The automations of a workspace whose deployments exist."""
    model, trigger = ws.config.model.name, ws.config.trigger
    retrain = client.read_deployment_by_name(names.full("retrain", model)).id

    def one(
        name: str, description: str, on: set[str], within: float, by: str = "", **parameters: Any
    ) -> AutomationCore:
        """Starts a run at the first of these events, and none again for `within` seconds."""
        labels = {BY: by} if by else {}
        return AutomationCore(
            name=name,
            description=description,
            trigger=EventTrigger(
                expect=on,
                match=ResourceSpecification(
                    {"prefect.resource.id": names.resource(model), **labels}
                ),
                posture=Posture.Reactive,
                threshold=1,
                within=timedelta(seconds=within),
            ),
            actions=[
                RunDeployment(
                    source="selected",
                    deployment_id=retrain,
                    parameters={"inbox": True, **parameters},
                    job_variables=None,
                )
            ],
        )

    return (
        one(
            names.data_arrived(model),
            "An event perdure.data.arrived starts a retraining.",
            {"perdure.data.arrived"},
            trigger.debounce,
            min_rows=trigger.min_rows,
        ),
        one(
            f"{model}: the world changed",
            "Drift, or a fallen prequential metric, starts a retraining.",
            {"perdure.drift.detected", "perdure.metric.fell"},
            CALM_S,
        ),
        one(
            f"{model}: promoted elsewhere",
            "A version that another process or a person promoted starts a retraining.",
            {"perdure.model.promoted"},
            CALM_S,
            by=f"!{OURSELVES}",
        ),
    )


def apply(client: SyncPrefectClient, one: AutomationCore) -> DeployedAutomation:
    """Create the automation, or update it where it differs."""
    change: Applied = "unchanged"
    found = _named(client, one.name)
    if not found:
        client.create_automation(one)
        change = "created"
        found = _named(client, one.name)
    # Names are not unique in Prefect: of two that two machines made at once, each keeps the first.
    for extra in found[1:]:
        client.delete_automation(extra.id)
    kept = found[0]
    if _content(kept) != _content(one):
        client.update_automation(kept.id, one.model_copy(update={"enabled": kept.enabled}))
        change = "updated"
    return DeployedAutomation(one.name, change, paused=not kept.enabled)


def remove_older(client: SyncPrefectClient, ws: Workspace) -> None:
    """Remove the automation of an earlier version."""
    for one in _named(client, ZOMBIES.format(model=ws.config.model.name)):
        client.delete_automation(one.id)


def _named(client: SyncPrefectClient, name: str) -> list[Automation]:
    return sorted(client.read_automations_by_name(name), key=lambda one: str(one.id))


def _content(one: AutomationCore) -> dict[str, Any]:
    """What an automation says, without what the server adds."""
    content = one.model_dump(
        include={
            "description": True,
            "actions": True,
            "trigger": {"expect", "match", "match_related", "posture", "threshold", "within"},
        }
    )
    return dict(content)
