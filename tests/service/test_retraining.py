"""What the watcher sees of Prefect's runs, and that what it starts begins."""

from __future__ import annotations

import logging
import threading
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Completed, Failed, Running

from perdure.config import Workspace
from perdure.orchestration import names, outcomes
from perdure.service import policy, state
from perdure.service.arrivals import Arrivals, Waiting
from perdure.service.deploy import deploy
from perdure.service.policy import Run
from perdure.service.remote import Remote
from perdure.service.retraining import Retraining
from tests.service.conftest import MakeWorkspace, Server


def retrain(server: Server, ws: Workspace) -> UUID:
    with server.client() as client:
        return client.read_deployment_by_name(names.full("retrain", ws.config.model.name)).id


def facts(client: SyncPrefectClient, ws: Workspace) -> policy.Facts:
    return state.gather(ws, client, Waiting(), ({}, 0.0), 0.0)[0]


def test_it_sees_what_comes_and_how_the_last_run_ended(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("seen")
    deploy(ws)
    deployment = retrain(configured, ws)
    with configured.client() as client:
        assert (facts(client, ws).runs, facts(client, ws).latest) == ([], "")
        run = client.create_flow_run_from_deployment(deployment)
        assert facts(client, ws).runs == [Run(str(run.id), taken=False)]
        client.set_flow_run_state(run.id, Running(), force=True)
        assert facts(client, ws).runs == [Run(str(run.id), taken=True)]
        endings: tuple[tuple[State[Any], str], ...] = (
            (Completed(name="Promoted"), "well"),
            (Completed(name=outcomes.SKIPPED), "badly"),
            (Failed(name=outcomes.AWAY), "hindered"),
            (Failed(), "badly"),
        )
        for last, how in endings:
            run = client.create_flow_run_from_deployment(deployment)
            client.set_flow_run_state(run.id, Running(), force=True)
            client.set_flow_run_state(run.id, last, force=True)
            found = facts(client, ws)
            assert (found.latest, found.ended) == (str(run.id), how)


def test_it_is_said_once_that_no_worker_takes_a_run(
    configured: Server,
    make_workspace: MakeWorkspace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(policy, "UNTAKEN_S", 0.0)
    ws = make_workspace("untaken")
    ws.inbox.mkdir()
    (ws.inbox / "a.csv").write_text("a,b\n1,2\n")
    deploy(ws)
    arrivals = Arrivals(lambda: ws, lambda: None)
    arrivals.waiting = Waiting({ws.inbox / "a.csv": (1, 1, 1)})
    retraining = Retraining(lambda: ws, arrivals, Remote(lambda: ws), threading.Event())

    def started() -> FlowRun:
        with configured.client() as client:
            return client.create_flow_run_from_deployment(retrain(configured, ws))

    caplog.set_level(logging.WARNING, logger="perdure")
    caplog.clear()  # the deployment said that there is no worker, too
    for number in (1, 2):
        run = started()
        for _ in range(2):
            retraining.look()
        assert len(caplog.records) == number
        text = caplog.messages[-1]
        assert f"{run.name} has waited for 300 s" in text
        assert "perdure worker --pool cpu" in text
        with configured.client() as client:
            client.delete_flow_run(run.id)
