"""Two environments of one model on one Prefect server do not touch each other."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State, StateType
from prefect.states import Scheduled

from perdure import config, running
from perdure.config import Workspace
from perdure.errors import UsageError
from perdure.orchestration import names, registry_identity
from perdure.service import state as observed
from perdure.service.arrivals import Waiting
from perdure.service.deploy import deploy
from tests.service.conftest import MakeWorkspace, Server, elsewhere


def at(ws: Workspace, uri: str) -> Workspace:
    """The same workspace, with a registry elsewhere."""
    text = (ws.root / "perdure.toml").read_text().partition("[tracking]")[0]
    (ws.root / "perdure.toml").write_text(f'{text}\n[tracking]\nuri = "{uri}"\n')
    return config.read(ws.root)


def test_clones_share_a_registry_by_its_address(
    make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    one = make_workspace("shares")
    other = elsewhere(one, tmp_path / "clone")
    server = "http://mlflow.example.com:5000"
    assert registry_identity.named(at(one, server)) == registry_identity.named(
        at(other, f"{server}/")
    )
    mine = at(other, "https://ada:pa55word@mlflow.example.com:5000/")
    yours = at(one, "https://bob:secret@MLflow.example.com:5000")
    assert registry_identity.registry(mine) == registry_identity.registry(yours)
    assert registry_identity.registry(mine) != registry_identity.registry(at(one, server))
    assert registry_identity.named(at(one, "sqlite:///own.db")) != registry_identity.named(
        at(other, "sqlite:///own.db")  # relative, so each has its own
    )
    database = f"sqlite:///{tmp_path}/shared.db"
    assert registry_identity.named(at(one, database)) == registry_identity.named(
        at(other, database)
    )


def test_a_registry_in_the_workspace_is_its_own_and_moves_with_it(
    make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    one = make_workspace("moves")
    assert registry_identity.registry(one) is None
    name = registry_identity.named(one)
    assert registry_identity.named(one) == registry_identity.registry(one) == name
    assert registry_identity.named(elsewhere(one, tmp_path / "clone")) != name
    moved = one.root.rename(tmp_path / "moved")
    assert registry_identity.named(config.read(moved)) == name


def test_deployments_of_another_registry_are_not_touched_unless_it_is_asked_for(
    configured: Server, make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    production = make_workspace("stands")
    staging = elsewhere(production, tmp_path / "staging")
    deploy(production)
    with configured.client() as client:
        before = client.read_deployment_by_name("rollback/rollback-stands")
        with pytest.raises(UsageError, match="stand for another registry") as refused:
            deploy(staging)
        assert "another name" in str(refused.value.hint)
        assert client.read_deployment_by_name("rollback/rollback-stands") == before
        later: State[Any] = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(days=1))
        run = client.create_flow_run_from_deployment(before.id, state=later)

        def known(ws: Workspace) -> bool:
            return observed.gather(ws, client, Waiting(), ({}, 0.0), 0.0)[0].deployed

        assert (known(production), known(staging)) == (True, False)
        assert {flow.change for flow in deploy(staging, replace=True).flows} == {"updated"}
        assert (known(production), known(staging)) == (False, True)
        state = client.read_flow_run(run.id).state
        assert state is not None
        assert state.type == StateType.CANCELLED  # or it stood there, and nobody took it
    with pytest.raises(UsageError, match="stand for another registry"):
        deploy(production)


def test_a_workspace_that_was_moved_updates_its_deployments(
    configured: Server, make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    ws = make_workspace("wanders")
    deploy(ws)
    moved = config.read(ws.root.rename(tmp_path / "there"))
    assert {flow.change for flow in deploy(moved).flows} == {"unchanged"}


def test_deployments_from_before_there_was_a_tag_are_taken_and_their_job_variables_stay(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("older")
    deploy(ws)
    job = {"env": {"PERDURE_GIT_REMOTE": "https://example.com/older.git"}}
    with configured.client() as client:
        for name in names.NAMES:
            id_ = client.read_deployment_by_name(names.full(name, "older")).id
            client.request(
                "PATCH",
                "/deployments/{id}",
                path_params={"id": id_},
                json={"tags": names.tags("older"), "job_variables": job},
            )
        assert {flow.change for flow in deploy(ws).flows} == {"updated"}
        assert client.read_deployment_by_name("retrain/retrain-older").job_variables == job


def test_on_its_own_server_a_workspace_may_change_its_registry(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("alone")
    deploy(ws)
    ws = at(ws, "http://mlflow.example.com:5000")
    with pytest.raises(UsageError, match="stand for another registry"):
        deploy(ws)
    part = running.Part("server", "running", os.getpid(), 0, "log")
    now = running.Running(
        os.getpid(), socket.gethostname(), "today", "ready", configured.api, None, "", (part,)
    )
    with running.hold(ws.state):
        running.write(ws.state, now)
        assert {flow.change for flow in deploy(ws).flows} == {"updated"}


def test_a_run_is_checked_where_it_begins(make_workspace: MakeWorkspace) -> None:
    ws = make_workspace("checked")
    mine = [*names.tags("checked"), names.registry_tag(registry_identity.named(ws))]
    for tags in ([], ["nightly"], names.tags("checked"), mine, [*mine, "perdure:told"]):
        registry_identity.check(ws.root, tags)
    with pytest.raises(UsageError, match="for the model yours, and the model of "):
        registry_identity.check(ws.root, names.tags("yours"))
    with pytest.raises(UsageError, match="another registry of the model checked"):
        registry_identity.check(ws.root, [*names.tags("checked"), names.registry_tag("another")])
    registry_identity.check(ws.root / "nowhere", mine)  # whoever opens it says so
