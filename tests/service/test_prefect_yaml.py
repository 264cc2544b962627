"""prefect.yaml says what the code says, and Prefect's own command takes it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment

from perdure import config
from perdure.orchestration import names, pools, registry_identity
from perdure.service.deploy import declared, deploy
from tests.service.conftest import Server

REPOSITORY = Path(__file__).parents[2]


def _written(spec: RunnerDeployment) -> dict[str, Any]:
    one: dict[str, Any] = {
        "name": spec.name,
        "version": spec.version,
        "description": spec.description,
        "tags": spec.tags,
        "entrypoint": spec.entrypoint,
        "parameters": spec.parameters,
        "enforce_parameter_schema": True,
        "work_pool": {"name": spec.work_pool_name, "work_queue_name": spec.work_queue_name},
    }
    return one


def test_it_says_what_the_code_says() -> None:
    output = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())
    expected = [_written(spec) for spec in declared(config.read(REPOSITORY))]
    assert len(expected) == 6
    assert output == {"name": "perdure", "deployments": expected}


def test_prefects_own_command_takes_it_and_ours_puts_the_forms_right(
    configured: Server, tmp_path: Path
) -> None:
    for name in ("prefect.yaml", "perdure.toml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    with configured.client() as client:
        pools.ensure(client, "cpu")
    command = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=tmp_path,
        env={**os.environ, "PREFECT_API_URL": configured.api},
        check=True,
        capture_output=True,
        text=True,
        timeout=200,
    )
    with configured.client() as client:
        theirs = _deployments(client)
    assert len(theirs) == 6, f"{command.stdout}\n{command.stderr}"
    result = deploy(config.read(tmp_path))
    assert {flow.change for flow in result.flows} == {"updated"}
    with configured.client() as client:
        ours = _deployments(client)
    assert set(ours) == set(theirs)
    registry = names.registry_tag(registry_identity.named(config.read(tmp_path)))
    for key, one in ours.items():
        other = theirs[key]
        for field in ("name", "version", "description", "entrypoint", "parameters"):
            assert getattr(one, field) == getattr(other, field), field
        assert one.tags == [*other.tags, registry]
        assert one.work_queue_name == other.work_queue_name
        assert "workspace" not in (one.parameter_openapi_schema or {})["properties"]
        assert not one.pull_steps


def _deployments(client: SyncPrefectClient) -> dict[UUID, DeploymentResponse]:
    return {d.id: d for d in client.read_deployments() if "perdure:weather" in d.tags}
