"""Events through the server's API start retrainings."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.events.schemas.automations import AutomationCore

from perdure.config import Workspace
from perdure.orchestration import events, names
from perdure.records import IN_MLFLOW
from perdure.service.deploy import deploy
from tests.service.conftest import MakeWorkspace, Server, until


def _post(server: Server, model: str, event: str, **labels: str) -> None:
    """As `curl` would, from anywhere."""
    answer = httpx.post(
        f"{server.api}/events",
        json=[
            {
                "event": event,
                "id": str(uuid4()),
                "occurred": datetime.now(UTC).isoformat(),
                "resource": {"prefect.resource.id": names.resource(model), **labels},
                "payload": {"source": "a test"},
            }
        ],
    )
    assert answer.status_code == 204, answer.text


def _runs(server: Server, model: str) -> list[FlowRun]:
    with server.client() as client:
        return [run for run in client.read_flow_runs() if names.model_tag(model) in run.tags]


def _triggered(server: Server, ws: Workspace, event: events.EventName) -> None:
    """Send an event that surely starts a run, and wait: events are handled in order."""
    before = len(_runs(server, ws.config.model.name))
    _post(server, ws.config.model.name, event)
    until(lambda: len(_runs(server, ws.config.model.name)) > before)


def test_data_that_arrives_starts_one_retraining_for_a_burst(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("arrives", "[trigger]\nmin_rows = 40\ndebounce = 60\nmax_wait = 600")
    deploy(ws)
    for _ in range(20):
        _post(configured, "arrives", "perdure.data.arrived")
    until(lambda: len(_runs(configured, "arrives")) > 0)
    _triggered(configured, ws, "perdure.drift.detected")
    arrived, drifted = sorted(_runs(configured, "arrives"), key=lambda run: str(run.created))
    assert arrived.parameters == {"workspace": ".", "inbox": True, "min_rows": 40, "wait": 15}
    assert drifted.parameters == {"workspace": ".", "inbox": True, "min_rows": 0, "wait": 15}
    assert all(run.name and run.work_queue_name == "arrives" for run in (arrived, drifted))


def test_an_event_for_another_model_starts_nothing(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ours, theirs = make_workspace("ours"), make_workspace("theirs")
    deploy(ours)
    deploy(theirs)
    _post(configured, "theirs", "perdure.data.arrived")
    _triggered(configured, ours, "perdure.metric.fell")
    assert len(_runs(configured, "ours")) == 1
    assert len(_runs(configured, "theirs")) == 1


def test_only_a_promotion_of_somebody_else_starts_a_retraining(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("promoted")
    deploy(ws)
    assert events.emit("perdure.model.promoted", ws, {"version": 3, "by": "ann"})
    _triggered(configured, ws, "perdure.metric.fell")
    assert len(_runs(configured, "promoted")) == 1
    assert events.emit("perdure.model.promoted", ws, {"version": 4, "by": IN_MLFLOW})
    until(lambda: len(_runs(configured, "promoted")) == 2)


def test_our_own_events_count_once_however_often_they_are_sent(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("same", "[trigger]\ndebounce = 0")
    deploy(ws)
    known = uuid4()
    for _ in range(3):
        events.send("perdure.data.arrived", ws, {"files": 1}, id=known)
    _triggered(configured, ws, "perdure.drift.detected")
    assert len(_runs(configured, "same")) == 2
    assert events.emit("perdure.data.arrived", ws, {"files": 1})
    until(lambda: len(_runs(configured, "same")) == 3)


def test_a_paused_automation_starts_nothing(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("quiet")
    deploy(ws)
    with configured.client() as client:
        (found,) = client.read_automations_by_name("quiet: data arrived")
        client.pause_automation(found.id)
    deploy(ws)
    _post(configured, "quiet", "perdure.data.arrived")
    _triggered(configured, ws, "perdure.drift.detected")
    assert len(_runs(configured, "quiet")) == 1


def test_an_event_that_cannot_be_sent_is_no_error(
    make_workspace: MakeWorkspace, caplog: pytest.LogCaptureFixture
) -> None:
    assert events.emit("perdure.model.refused", make_workspace("alone"), {"version": 1}) is False
    assert "The event perdure.model.refused could not be sent to Prefect" in caplog.text


def test_an_automation_of_before_that_also_ended_runs_that_lived_is_removed(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("old")
    deploy(ws)
    with configured.client() as client:
        (kept,) = client.read_automations_by_name("old: data arrived")
        for name in ("old: zombie runs", "other: zombie runs"):
            client.create_automation(AutomationCore(name=name, trigger=kept.trigger, actions=[]))
        assert len(client.read_automations_by_name("old: zombie runs")) == 1
        deploy(ws)
        assert client.read_automations_by_name("old: zombie runs") == []
        assert len(client.read_automations_by_name("other: zombie runs")) == 1
