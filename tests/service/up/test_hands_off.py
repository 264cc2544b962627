"""`perdure up` as its user meets it: files in, champions out, a rollback, a schedule, the end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.promises import kit
from tests.soak import checks
from tests.soak.machine import CONFIG, Machine, machine, wait, workspace

pytestmark = pytest.mark.timeout(600)

EVERY_MINUTE = '\n[schedule]\ncron = "* * * * *"\n'


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A workspace with one pending experience, and `perdure up` in it, ready."""
    folder = tmp_path_factory.mktemp("hands-off")
    root = workspace(folder / "small", CONFIG + EVERY_MINUTE)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in ("PREFECT_API_URL", "PREFECT_SERVER_EPHEMERAL_ENABLED"):
        environment.pop(name, None)
    with machine(root, environment) as one:
        one.up()
        wait(lambda: _state(one) == "ready", 120, "perdure up is ready")
        yield one


def _state(one: Machine) -> str | None:
    assert one.alive, one.log.read_text()
    here = one.running()
    return here.state if here else None


def champion(one: Machine) -> dict[str, Any] | None:
    """What `status` says of the champion."""
    found: dict[str, Any] | None = one.status()["champion"]
    return found


def version(one: Machine) -> int | None:
    """The champion's."""
    found = champion(one)
    return int(found["version"]) if found else None


def test_files_become_champions_and_a_rollback_on_prefects_page_takes_one_back(
    up: Machine,
) -> None:
    wait(lambda: version(up) == 1, 120, "what was pending is learned, though no event told of it")

    for number in (2, 3):
        kit.arrive(up.root, f"more-{number}.csv", kit.table(number))
    wait(lambda: len((champion(up) or {"cursor": ()})["cursor"]) == 3, 120, "the files are learned")
    newest = version(up)
    assert newest == 3
    wait(lambda: checks.settled(up), 60, "nothing waits")
    sent = {"small-first.csv": 120, "more-2.csv": 60, "more-3.csv": 60}
    found = [*checks.faults(up, sent, [])]
    end = time.monotonic() + 60
    while found and time.monotonic() < end:  # a run of the schedule may just have begun
        time.sleep(2)
        found = [*checks.faults(up, sent, [])]
    assert found == []

    deployed = up.api("/deployments/name/rollback/rollback-small")
    for _ in range(3):  # as a person would, where the schedule's run held the lock just then
        run = up.api(
            f"/deployments/{deployed['id']}/create_flow_run",
            {"parameters": {"reason": "a person on the page"}, "state": {"type": "SCHEDULED"}},
        )
        wait(partial(_ended, up, run), 90, "the rollback has ended")
        state = up.api(f"/flow_runs/{run['id']}")["state"]
        if "LockHeld" not in (state["message"] or ""):
            break
    assert state["type"] == "COMPLETED", state
    assert version(up) == 2
    status = up.status()
    assert [one["id"][:6] for one in status["held"]] == ["000003"]
    assert status["pending"] == []


def _ended(up: Machine, run: dict[str, Any]) -> bool:
    return up.api(f"/flow_runs/{run['id']}")["state_type"] in ("COMPLETED", "FAILED", "CRASHED")


def test_a_scheduled_run_runs(up: Machine) -> None:
    def scheduled() -> list[Any]:
        runs = up.runs("COMPLETED") or []
        return [run for run in runs if run["auto_scheduled"]]

    wait(scheduled, 120, "a run of the schedule has ended well")


def test_status_shows_what_runs_and_down_ends_it(up: Machine) -> None:
    shown = up.perdure("status", "--json")
    assert shown.returncode == 0, shown.stderr
    running = json.loads(shown.stdout)["running"]
    assert {part["name"] for part in running["parts"]} >= {"server", "mlflow", "watcher", "worker"}
    assert running["prefect_api"].startswith("http://127.0.0.1:")
    before = {process.pid for process in up.processes()}
    assert len(before) >= 5
    ended = up.perdure("down")
    assert ended.returncode == 0, ended.stderr
    assert up.process is not None
    assert up.process.wait(timeout=5) == 0
    wait(lambda: not up.processes(), 5, "no process is left")
    assert up.status()["running"] is None
    assert version(up) == 2
