"""Who may ask Prefect for a flow run must not choose its command, environment or folder."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import FlowRun
from prefect.workers.process import ProcessWorker

from perdure.config import Workspace
from perdure.orchestration import pools
from tests.service.conftest import MakeWorkspace, Server, until
from tests.service.test_worker import ended, probe, read, working, written_by


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose pools no other test needs."""
    server = Server(tmp_path_factory.mktemp("own"))
    server.start()
    yield server
    server.stop()


def attack(tmp_path: Path) -> dict[str, Any]:
    """Job variables that run a command as the worker's user."""
    command = [sys.executable, "-c", f"open({str(tmp_path / 'hit')!r}, 'w')"]
    return {
        "command": shlex.join(command),
        "env": {"PERDURE_WORKSPACE": str(tmp_path), "ATTACKED": "yes"},
        "working_dir": str(tmp_path),
    }


def asked(server: Server, deployment: UUID, variables: dict[str, Any]) -> httpx.Response:
    """What any user of the machine may send."""
    return httpx.post(
        f"{server.api}/deployments/{deployment}/create_flow_run",
        json={"state": {"type": "SCHEDULED"}, "job_variables": variables},
        timeout=30,
    )


def run_of(answer: httpx.Response) -> FlowRun:
    assert answer.status_code == 201, answer.text
    return FlowRun.model_validate(answer.json())


def prefects_template() -> dict[str, Any]:
    return ProcessWorker.get_default_base_job_template()


def make_pool(server: Server, name: str) -> None:
    with server.client() as client:
        client.create_work_pool(
            WorkPoolCreate(name=name, type=pools.TYPE, base_job_template=prefects_template())
        )


def template_of(server: Server, pool: str) -> dict[str, Any]:
    with server.client() as client:
        return client.read_work_pool(pool).base_job_template


def not_attacked(server: Server, ws: Workspace, run: FlowRun, tmp_path: Path) -> None:
    """It was the flow run that was deployed, and nothing of what was asked for."""
    until(ended(server, run))
    assert read(server, run).state_name == "Completed"
    result = written_by(ws, "said")
    assert result["environment"]["PERDURE_WORKSPACE"] == str(ws.root)
    assert "ATTACKED" not in result["environment"]
    assert result["folder"] != str(tmp_path)
    assert not (tmp_path / "hit").exists()


def test_a_pool_of_an_older_version_gets_a_template_that_takes_none(
    own: Server, make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    ws = make_workspace("older")
    make_pool(own, "cpu")
    with own.client() as client:
        deployment = client.create_deployment(
            flow_id=client.create_flow_from_name("waits"), name="older", work_pool_name="cpu"
        )
    waits = run_of(asked(own, deployment, attack(tmp_path)))  # as any user could until now
    assert waits.job_variables == attack(tmp_path)
    deployed = probe(own, ws)  # the pool gets its template
    assert template_of(own, "cpu") == pools.template()
    for name, value in attack(tmp_path).items():
        answer = asked(own, deployed, {name: value})
        assert answer.status_code == 422
        assert name in answer.text
    plain = run_of(asked(own, deployed, {"name": "harmless"}))
    with working(own, ws, "--pool", "cpu"):
        not_attacked(own, ws, plain, tmp_path)


def test_a_template_that_a_person_has_changed_stays_and_the_worker_takes_none_either(
    own: Server, make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    ws = make_workspace("changed")
    changed = prefects_template()
    changed["variables"]["properties"]["env"]["default"] = {"MINE": "yes"}
    deployed = probe(own, ws)
    with own.client() as client:
        client.update_work_pool("cpu", WorkPoolUpdate(base_job_template=changed))
        pools.ensure(client, "cpu")
    assert template_of(own, "cpu") == changed
    run = run_of(asked(own, deployed, attack(tmp_path)))
    with working(own, ws, "--pool", "cpu"):
        not_attacked(own, ws, run, tmp_path)


def test_control_prefects_own_worker_and_template_carry_it_out(own: Server, tmp_path: Path) -> None:
    make_pool(own, "theirs")
    with own.client() as client:
        deployment = client.create_deployment(
            flow_id=client.create_flow_from_name("theirs"), name="theirs", work_pool_name="theirs"
        )
    run_of(asked(own, deployment, attack(tmp_path)))
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "theirs", "--run-once"]
    with (tmp_path / "log").open("w") as log:
        subprocess.run(
            command,
            env={**os.environ, "PREFECT_API_URL": own.api},
            stdout=log,
            stderr=log,
            timeout=120,
            check=False,
        )
    assert (tmp_path / "hit").exists(), (tmp_path / "log").read_text()
