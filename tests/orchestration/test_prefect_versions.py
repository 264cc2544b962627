"""The pinned versions work together: a schedule creates runs, and `deploy` deploys.

With sqlalchemy 2.1 the scheduler creates no runs and says nothing; from fastapi 0.152 on
`deploy` is answered 422. Neither shows at installation.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import pytest
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import FlowRun
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import temporary_settings
from prefect.types.entrypoint import EntrypointType

SCHEDULED_SECONDS = 30.0

ENTRYPOINT = "perdure.flows.retrain.retrain"


@pytest.fixture
def retrain(prefect_server: str) -> Iterator[Flow[..., Any]]:
    """The flow, as a worker loads it; calls inside the test go to the server."""
    with temporary_settings(updates={"api.url": prefect_server}):
        yield load_flow_from_entrypoint(ENTRYPOINT)


def first_runs(deployment: UUID) -> list[FlowRun]:
    """The runs that the server's scheduler has made; waits for the first."""
    wanted = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]))
    deadline = time.monotonic() + SCHEDULED_SECONDS
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            if runs := client.read_flow_runs(flow_run_filter=wanted):
                return runs
            time.sleep(0.2)
    return []


@pytest.mark.parametrize(
    "schedule", [{"interval": timedelta(hours=1)}, {"cron": "0 3 * * *"}], ids=["interval", "cron"]
)
def test_a_schedule_creates_runs(retrain: Flow[..., Any], schedule: dict[str, Any]) -> None:
    deployment = retrain.to_deployment(
        name=f"every-{next(iter(schedule))}",
        parameters={"workspace": "."},
        entrypoint_type=EntrypointType.MODULE_PATH,
        **schedule,
    )
    runs = first_runs(cast(UUID, cast(RunnerDeployment, deployment).apply()))
    assert runs, f"the scheduler made no run in {SCHEDULED_SECONDS:.0f} s"
    assert {run.state_name for run in runs} == {"Scheduled"}
    assert {run.parameters["workspace"] for run in runs} == {"."}


def test_a_flow_deploys_to_a_work_pool(retrain: Flow[..., Any]) -> None:
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="here", type="process"))
    made = retrain.deploy(
        "deployed",
        work_pool_name="here",
        parameters={"workspace": "."},
        entrypoint_type=EntrypointType.MODULE_PATH,
        build=False,
        push=False,
        print_next_steps=False,
    )
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment(cast(UUID, made))
    assert deployment.entrypoint == ENTRYPOINT
    assert deployment.work_pool_name == "here"
    assert deployment.parameters == {"workspace": "."}
    assert deployment.name == "deployed"
