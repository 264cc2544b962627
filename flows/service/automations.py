"""The automations of a workspace in Prefect: what starts a retraining.

Each may be lost, doubled or late (promise 4): the watcher looks at the inbox and the registry
itself. What somebody paused in Prefect's page stays paused.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.events.actions import RunDeployment
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import PrefectHTTPStatusError

from perdure.config import Workspace
from perdure.flows.service import names
from perdure.flows.service.events import BY, OURSELVES
from perdure.records import Applied, DeployedAutomation

CALM_S = 60.0
"""Between two retrainings that drift or a promotion elsewhere start, at least."""

ZOMBIES = "{model}: zombie runs"
"""There was one of this name, which also ended runs that lived (ADR 25)."""

TRIES = 5
"""Against others that apply the same at the same time."""


def apply(client: SyncPrefectClient, ws: Workspace) -> tuple[DeployedAutomation, ...]:
    """Create or update the automations of a workspace, whose deployments stand already."""
    for one in _named(client, ZOMBIES.format(model=ws.config.model.name)):
        client.delete_automation(one.id)
    return tuple(_apply(client, one) for one in wanted(client, ws))


def wanted(client: SyncPrefectClient, ws: Workspace) -> tuple[AutomationCore, ...]:
    """The automations that a workspace should have."""
    model, trigger = ws.config.model.name, ws.config.trigger
    retrain = client.read_deployment_by_name(names.full("retrain", model)).id

    def start(**parameters: Any) -> RunDeployment:
        return RunDeployment(
            source="selected",
            deployment_id=retrain,
            parameters={"inbox": True, **parameters},
            job_variables=None,
        )

    return (
        AutomationCore(
            name=names.data_arrived(model),
            description="An event perdure.data.arrived starts a retraining.",
            trigger=_on(model, {"perdure.data.arrived"}, trigger.debounce),
            actions=[start(min_rows=trigger.min_rows)],
        ),
        AutomationCore(
            name=f"{model}: the world changed",
            description="Drift, or a fallen prequential metric, starts a retraining.",
            trigger=_on(model, {"perdure.drift.detected", "perdure.metric.fell"}, CALM_S),
            actions=[start()],
        ),
        AutomationCore(
            name=f"{model}: promoted elsewhere",
            description="A version that somebody else promoted starts a retraining.",
            trigger=_on(model, {"perdure.model.promoted"}, CALM_S, {BY: f"!{OURSELVES}"}),
            actions=[start()],
        ),
    )


def _on(
    model: str, events: set[str], within: float, labels: dict[str, str | list[str]] | None = None
) -> EventTrigger:
    """Fires on the first event, and not again for `within` seconds."""
    match = {"prefect.resource.id": names.resource(model), **(labels or {})}
    return EventTrigger(
        expect=events,
        match=ResourceSpecification(match),
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(seconds=within),
    )


def _apply(client: SyncPrefectClient, one: AutomationCore) -> DeployedAutomation:
    for _ in range(TRIES - 1):
        try:
            return _once(client, one)
        except PrefectHTTPStatusError as error:
            if error.response.status_code != 404:
                raise  # else somebody removed meanwhile what was doubled
    return _once(client, one)


def _once(client: SyncPrefectClient, one: AutomationCore) -> DeployedAutomation:
    change: Applied = "unchanged"
    found = _named(client, one.name)
    if not found:
        client.create_automation(one)
        change = "created"
        found = _named(client, one.name)
    # Names are not unique in Prefect: of two that were made at once, everybody keeps the first.
    for extra in found[1:]:
        client.delete_automation(extra.id)
    kept = found[0]
    if _meaning(kept) != _meaning(one):
        client.update_automation(kept.id, one.model_copy(update={"enabled": kept.enabled}))
        change = "updated"
    return DeployedAutomation(one.name, change, paused=not kept.enabled)


def _named(client: SyncPrefectClient, name: str) -> list[Automation]:
    return sorted(client.read_automations_by_name(name), key=lambda one: str(one.id))


def _meaning(one: AutomationCore) -> dict[str, Any]:
    """What an automation says, without what the server adds."""
    told: dict[str, Any] = one.model_dump(
        mode="json", include={"description", "trigger", "actions"}
    )
    trigger = {k: v for k, v in told["trigger"].items() if k not in ("id", "name")}
    for key in ("after", "expect", "for_each"):
        trigger[key] = sorted(trigger[key])
    return {**told, "trigger": trigger}
