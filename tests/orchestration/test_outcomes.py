"""A run of a deployment ends in a state whose name says what became of it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.settings import temporary_settings

from perdure.errors import Fault, GateRefused, LockHeld, Unreachable
from perdure.orchestration import outcomes
from perdure.orchestration.engine import flow


def raises(error: Exception) -> Callable[[], str]:
    def body() -> str:
        raise error

    return body


def connects_to_nobody() -> str:
    httpx.get("http://127.0.0.1:9/api")
    return ""


def ended(api: str, body: Callable[[], str], *, skips: bool = False) -> tuple[str, str, str]:
    """Type, name and message of the last state of a deployment's run."""
    made = flow(name="ends", flow_run_name="ends", ending=lambda r: ("Done", r), skips=skips)(body)
    with (
        temporary_settings(updates={"api.url": api}),
        get_client(sync_client=True) as client,
    ):
        deployment = client.create_deployment(client.create_flow(made), f"d-{uuid4().hex[:8]}")
        run = client.create_flow_run_from_deployment(deployment)
        running: Any = run_flow
        running(made, flow_run=run, parameters={}, return_type="state")
        state = client.read_flow_run(run.id).state
    assert state is not None
    return state.type.value, state.name or "", state.message or ""


def test_its_result_names_it(prefect_server: str) -> None:
    assert ended(prefect_server, lambda: "all well") == ("COMPLETED", "Done", "all well")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (raises(LockHeld("retrain is at work")), outcomes.LOCKED),
        (raises(GateRefused("it is worse")), outcomes.REFUSED),
        (raises(Unreachable("MLflow does not answer", hint="start it")), outcomes.AWAY),
        (connects_to_nobody, outcomes.AWAY),
        (raises(OSError(errno.ENOSPC, "No space left on device")), outcomes.DISK_FULL),
        (raises(RuntimeError("(sqlite3.OperationalError) database or disk is full")), "Disk full"),
        (raises(Fault("experience 1 is still pending")), "Failed"),
        (raises(ValueError("a number")), "Failed"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_so_does_what_ended_it(prefect_server: str, body: Callable[[], str], name: str) -> None:
    kind, found, message = ended(prefect_server, body)
    assert (kind, found) == ("FAILED", name)
    assert message


def test_a_run_that_may_skip_ends_well_where_the_model_is_locked(prefect_server: str) -> None:
    kind, name, message = ended(prefect_server, raises(LockHeld("it is locked")), skips=True)
    assert (kind, name, message) == ("COMPLETED", outcomes.SKIPPED, "it is locked")


def test_other_calls_are_not_changed(prefect_server: str) -> None:
    made = flow(name="ends", flow_run_name="ends", ending=lambda r: ("Done", r))(lambda: "all well")
    with temporary_settings(updates={"api.url": prefect_server}):
        assert made() == "all well"
    assert made.fn() == "all well"
