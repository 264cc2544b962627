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

from perdure import config
from perdure.flows.service import belonging, names, pools
from perdure.flows.service.deployments import deploy
from perdure.flows.service.specs import GRACE_S, Spec, specs
from tests.flows.service.conftest import Server

REPOSITORY = Path(__file__).parents[3]


def _written(spec: Spec) -> dict[str, Any]:
    one: dict[str, Any] = {
        "name": spec.deployment,
        "version": spec.version,
        "description": spec.description,
        "tags": spec.tags,
        "entrypoint": spec.entrypoint,
        "parameters": spec.parameters,
        "enforce_parameter_schema": True,
        "work_pool": {"name": spec.pool, "work_queue_name": spec.queue},
    }
    if spec.collision is not None:
        one["concurrency_limit"] = {
            "limit": 1,
            "collision_strategy": spec.collision,
            "grace_period_seconds": GRACE_S,
        }
    return one


def test_it_says_what_the_code_says() -> None:
    told = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())
    expected = [_written(spec) for spec in specs(config.read(REPOSITORY))]
    assert len(expected) == 6
    assert told == {"name": "perdure", "deployments": expected}


def test_prefects_own_command_takes_it_and_ours_puts_the_forms_right(
    configured: Server, tmp_path: Path
) -> None:
    for name in ("prefect.yaml", "perdure.toml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    with configured.client() as client:
        pools.ensure(client, "cpu")
    subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=tmp_path,
        env={**os.environ, "PREFECT_API_URL": configured.api},
        check=True,
        capture_output=True,
        timeout=200,
    )
    with configured.client() as client:
        theirs = _deployments(client)
    assert len(theirs) == 6
    result = deploy(config.read(tmp_path))
    assert {flow.change for flow in result.flows} == {"updated"}
    with configured.client() as client:
        ours = _deployments(client)
    assert set(ours) == set(theirs)
    registry = names.registry_tag(belonging.named(config.read(tmp_path)))
    for key, one in ours.items():
        other = theirs[key]
        for field in ("name", "version", "description", "entrypoint", "parameters"):
            assert getattr(one, field) == getattr(other, field), field
        assert one.tags == [*other.tags, registry]
        assert one.work_queue_name == other.work_queue_name
        assert one.concurrency_options == other.concurrency_options
        assert one.global_concurrency_limit == other.global_concurrency_limit
        assert "workspace" not in (one.parameter_openapi_schema or {})["properties"]
        assert not one.pull_steps


def _deployments(client: SyncPrefectClient) -> dict[UUID, DeploymentResponse]:
    return {d.id: d for d in client.read_deployments() if "perdure:weather" in d.tags}
