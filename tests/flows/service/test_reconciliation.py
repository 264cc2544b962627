"""What the watcher's net sees of Prefect's runs, and that what it starts begins."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect import flow
from prefect.client.schemas.objects import FlowRun
from prefect.states import Scheduled

from perdure.config import Workspace
from perdure.errors import Fault, LockHeld, Unreachable
from perdure.flows.service import facts, names, reconcile, reconciliation
from perdure.flows.service.arrivals import Arrivals, Waiting
from perdure.flows.service.deployments import deploy
from perdure.flows.service.reconcile import Start
from perdure.flows.service.reconciliation import Reconciliation
from perdure.flows.service.remote import Remote
from tests.flows.service.conftest import MakeWorkspace, Server


def raises(error: Exception) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def connects_to_nobody() -> None:
    httpx.get("http://127.0.0.1:9/api")


def answers_nothing() -> None:
    raise httpx.ReadTimeout("")


@pytest.mark.parametrize(
    ("body", "how"),
    [
        (raises(Unreachable("MLflow at http://x does not answer", hint="start it")), "hindered"),
        (raises(OSError(errno.ENOSPC, "No space left on device")), "hindered"),
        (raises(Fault("the disk is full: 28", hint="free some space")), "hindered"),
        (raises(RuntimeError("(sqlite3.OperationalError) database or disk is full")), "hindered"),
        (connects_to_nobody, "hindered"),
        (answers_nothing, "hindered"),
        (raises(ValueError("a number")), "failed"),
        (raises(LockHeld("retrain is at work")), "failed"),
        (raises(Fault("experience 1 is still pending")), "failed"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_run_that_was_hindered_is_told_by_what_its_state_says(
    configured: Server, body: Callable[[], None], how: str
) -> None:
    with configured.client() as client:
        ended: Any = flow(name="fails")(body)(return_state=True)
        found = client.read_flow_run(ended.state_details.flow_run_id).state
    assert found is not None
    assert found.message
    assert facts._how(found.type.value, found.message) == how


def retrain(server: Server, ws: Workspace) -> UUID:
    with server.client() as client:
        return client.read_deployment_by_name(names.full("retrain", ws.config.model.name)).id


def test_after_a_clock_was_set_back_what_is_started_begins(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("set-back")
    deploy(ws)
    deployment, decision = retrain(configured, ws), Start(0, "one key", "it waits")
    ahead = datetime.now(UTC) + timedelta(days=3)
    with configured.client() as client:
        before = client.create_flow_run_from_deployment(
            deployment, state=Scheduled(scheduled_time=ahead), idempotency_key=decision.key
        )
        found, _ = facts.gather(ws, client, Waiting(), ({}, 0.0), 0.0)
        assert list(found.runs) == []  # it is of no use now
        run = reconciliation.started(client, deployment, decision)
        assert run.id != before.id
        found, _ = facts.gather(ws, client, Waiting(), ({}, 0.0), 0.0)
        assert [(one.id, one.how, one.begun) for one in found.runs] == [
            (str(run.id), "active", False)
        ]
        assert reconciliation.started(client, deployment, decision).id == run.id


def test_it_is_said_once_that_no_worker_takes_a_run(
    configured: Server,
    make_workspace: MakeWorkspace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(reconcile, "UNTAKEN_S", 0.0)
    ws = make_workspace("untaken")
    ws.inbox.mkdir()
    (ws.inbox / "a.csv").write_text("a,b\n1,2\n")
    deploy(ws)
    arrivals = Arrivals(lambda: ws, lambda _: None)
    arrivals.waiting = Waiting({ws.inbox / "a.csv": (1, 1, 1)}, told=0.0)
    net = Reconciliation(lambda: ws, arrivals, Remote(lambda: ws))

    def started() -> FlowRun:
        with configured.client() as client:
            return client.create_flow_run_from_deployment(retrain(configured, ws))

    caplog.set_level(logging.WARNING, logger="perdure")
    caplog.clear()  # the deployment said that there is no worker, too
    for number in (1, 2):
        run = started()
        for _ in range(2):
            net.look()
        assert len(caplog.records) == number
        said = caplog.messages[-1]
        assert f"{run.name} has waited for 300 s" in said
        assert "perdure worker --pool cpu" in said
        with configured.client() as client:
            client.delete_flow_run(run.id)
