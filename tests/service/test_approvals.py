"""A version that waits for approval is approved, or refused, by a run on Prefect's page."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Literal

import pytest
from prefect.client.schemas.objects import FlowRun, StateType

from perdure import config
from perdure.errors import UsageError
from perdure.flows import approve, promote, retrain
from perdure.orchestration import approvals, model_lock
from perdure.service.deploy import deploy
from tests.promises import kit
from tests.service.conftest import Server, until
from tests.service.test_worker import working

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return kit.make(tmp_path / "waits", mode="manual")


def aliases(root: Path) -> tuple[int | None, int | None]:
    """Champion and challenger."""
    now = kit.registry(root).read()
    return now.champion and now.champion.version, now.challenger and now.challenger.version


def learn(root: Path, number: int) -> None:
    if number > 1:
        kit.ingest(root, kit.table(number))
    retrain.run(str(root))


def runs(server: Server) -> dict[Any, list[FlowRun]]:
    """The runs of the deployment `approve`, by the version that each asks about."""
    found: dict[Any, list[FlowRun]] = {}
    with server.client() as client:
        deployment = client.read_deployment_by_name("approve/approve-small").id
        for run in client.read_flow_runs(limit=200):
            if run.deployment_id == deployment:
                found.setdefault(run.parameters["version"], []).append(run)
    return found


def state(server: Server, version: int) -> StateType | None:
    """The state of the one run that asks about a version."""
    [run] = runs(server).get(version, [None])
    return run.state_type if run else None


def answer(server: Server, version: int, **answers: str) -> str:
    """What Prefect's page sends when a person has filled in the form; Prefect's answer."""
    [run] = runs(server)[version]
    with server.client() as client:
        answered = client.request(
            "POST",
            "/flow_runs/{id}/resume",
            path_params={"id": run.id},
            json={"run_input": answers},
        )
    return str(answered.raise_for_status().json()["status"])


def test_a_person_approves_and_refuses_on_prefects_page(configured: Server, root: Path) -> None:
    ws = config.read(root)
    deploy(ws, replace=True)
    learn(root, 1)
    assert aliases(root) == (None, 1)
    # A newer challenger takes the older one's place; who asks twice has one run.
    learn(root, 2)
    assert state(configured, 1) == StateType.CANCELLED
    with working(configured, ws, "--pool", "cpu"):
        until(lambda: state(configured, 2) == StateType.PAUSED)
        retrain.run(str(root))
        approvals.settle(ws, again=True)
        assert {version: len(found) for version, found in runs(configured).items()} == {1: 1, 2: 1}

        assert answer(configured, 2, decision="perhaps") == "REJECT"
        assert answer(configured, 2, decision="approve", reason="it is better") == "ACCEPT"
        until(lambda: state(configured, 2) == StateType.COMPLETED)
        assert aliases(root) == (2, 2)

        learn(root, 3)
        until(lambda: state(configured, 3) == StateType.PAUSED)
        # Its process is still ending, which must not end the worker.
        assert answer(configured, 3, decision="refuse", reason="it is slow") == "ACCEPT"
        until(lambda: state(configured, 3) == StateType.COMPLETED)
        assert aliases(root) == (2, 2)

        # One that was approved by command meanwhile is not asked about any more.
        learn(root, 4)
        until(lambda: state(configured, 4) == StateType.PAUSED)
        promote.run(str(root), None, False, "by command")
        assert state(configured, 4) == StateType.CANCELLED
    assert aliases(root) == (4, 4)
    now = kit.registry(root).read()
    assert [id_[:6] for id_ in now.held] == ["000003"]
    history = [
        (event.action, event.version, event.reason) for event in kit.registry(root).history()
    ]
    assert ("promoted", 2, "it is better") in history
    assert ("rolled back", 2, "version 3 was not approved: it is slow") in history


def test_an_answer_for_a_version_that_waits_no_more_changes_nothing(root: Path) -> None:
    ws = config.read(root)
    retrain.retrain.fn(str(root))
    kit.ingest(root, kit.table(2))
    retrain.retrain.fn(str(root))
    before = kit.picture(root)
    decisions: tuple[Literal["approve"], Literal["refuse"]] = ("approve", "refuse")
    for decision in decisions:
        done = approve.decided(ws, 1, decision, None)
        assert done.outcome == "superseded"
        assert "the challenger 2" in (done.reason or "")
    assert approve.approve.fn(str(root), version=1).outcome == "superseded"
    with pytest.raises(UsageError, match="runs from its deployment"):
        approve.approve.fn(str(root), version=2)
    assert kit.picture(root) == before
    # Nor does a retraining with nothing pending, which an event of drift may have started: so it
    # sends no event that starts another one.
    assert retrain.retrain.fn(str(root)).learned == ()
    assert kit.picture(root) == before


def test_a_first_version_that_is_refused_leaves_no_challenger_and_holds_what_it_learned(
    root: Path,
) -> None:
    """The answer waits for whoever works on the model."""
    ws = config.read(root)
    retrain.retrain.fn(str(root))
    done: list[Any] = []
    with model_lock.hold(ws, "retrain"):
        answering = threading.Thread(
            target=lambda: done.append(approve.decided(ws, 1, "refuse", "a spoilt file"))
        )
        answering.start()
        answering.join(0.5)
        assert aliases(root) == (None, 1)
    answering.join(60)
    assert (done[0].outcome, len(done[0].held)) == ("refused", 1)
    assert aliases(root) == (None, None)
    [held] = kit.registry(root).read().held.values()
    assert held.reasons == ("version 1 was not approved: a spoilt file",)
    kit.ingest(root, kit.table(2))
    [learned] = retrain.retrain.fn(str(root)).learned
    assert (learned.verdict, learned.experience[:6]) == ("passed", "000002")
