"""`perdure deploy` against a real server."""

from __future__ import annotations

import inspect
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State, StateType, WorkQueueStatus
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import temporary_settings
from prefect.states import Scheduled

from perdure import config, running
from perdure.config import Workspace
from perdure.errors import ConfigError, UsageError
from perdure.flows.examine import examine
from perdure.flows.service import belonging, names
from perdure.flows.service.deployments import deploy
from perdure.flows.service.process_worker import overtaken
from perdure.flows.service.specs import FORMS, specs
from perdure.records import Deployed
from perdure.running import Running
from tests.flows.service.conftest import MakeWorkspace, Server, until


def test_a_password_in_the_address_is_not_shown(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    secret = configured.api.replace("http://", "http://ada:s3cret@")
    with temporary_settings(updates={"api.url": secret}):
        result = deploy(make_workspace("discreet"))
    assert result.api.rstrip("/") == configured.api
    assert {flow.page is not None for flow in result.flows} == {True}
    assert "s3cret" not in repr(result)


def _changes(result: Deployed) -> set[str]:
    assert [flow.name.split("/")[0] for flow in result.flows] == list(names.NAMES)
    assert len(result.automations) == 3
    return {one.change for one in result.flows} | {one.change for one in result.automations}


def test_all_is_made_and_the_second_time_nothing_is_touched(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("first")
    assert _changes(deploy(ws)) == {"created"}
    assert _changes(deploy(ws)) == {"unchanged"}
    with configured.client() as client:
        retrain = client.read_deployment_by_name("retrain/first")
        evaluate = client.read_deployment_by_name("evaluate/first")
        assert client.read_work_pool("cpu").type == "process"
    assert retrain.work_pool_name == "cpu"
    assert retrain.work_queue_name == "first"
    registry = names.registry_tag(belonging.named(ws))
    assert retrain.tags == ["perdure", "perdure:first", registry]
    assert retrain.entrypoint == "perdure.flows.retrain.retrain"
    assert retrain.parameters == {"workspace": ".", "inbox": True, "min_rows": 0}
    assert retrain.global_concurrency_limit is not None
    assert retrain.global_concurrency_limit.limit == 1
    assert retrain.concurrency_options is not None
    assert retrain.concurrency_options.collision_strategy == "CANCEL_NEW"
    assert retrain.description is not None
    assert retrain.description.startswith("Learn every experience")
    assert "Args:" not in retrain.description
    assert evaluate.global_concurrency_limit is None


def test_what_the_configuration_says_anew_is_updated(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    deploy(make_workspace("moves"))
    result = deploy(make_workspace("moves", '[resources]\npool = "gpu"\n[trigger]\nmin_rows = 7'))
    assert {f.name: (f.change, f.pool) for f in result.flows} == {
        "ingest/moves": ("unchanged", "cpu"),
        "retrain/moves": ("updated", "gpu"),
        "evaluate/moves": ("updated", "gpu"),
        "rollback/moves": ("unchanged", "cpu"),
        "promote/moves": ("unchanged", "cpu"),
        "approve/moves": ("unchanged", "cpu"),
    }
    assert {a.name: a.change for a in result.automations}["moves: data arrived"] == "updated"
    with configured.client() as client:
        (found,) = client.read_automations_by_name("moves: data arrived")
    told = found.actions[0].model_dump()
    assert told["parameters"] == {"inbox": True, "min_rows": 7}


def test_two_at_once_do_no_harm(configured: Server, make_workspace: MakeWorkspace) -> None:
    ws = make_workspace("twice", '[schedule]\ninterval = "6h"')
    with ThreadPoolExecutor(4) as threads:
        started = [threads.submit(copy_context().run, deploy, ws) for _ in range(4)]
        told = [future.result() for future in started]
    assert len(told) == 4
    deploy(ws)  # what two made at once, the next one puts right
    assert _changes(deploy(ws)) == {"unchanged"}
    with configured.client() as client:
        found = [d for d in client.read_deployments() if "perdure:twice" in d.tags]
        automations = [a for a in client.read_automations() if a.name.startswith("twice:")]
        retrain = client.read_deployment_by_name("retrain/twice")
    assert len(found) == 6
    assert len(automations) == 3
    assert len(retrain.schedules) == 1


def test_the_forms_ask_for_what_people_may_set(make_workspace: MakeWorkspace) -> None:
    found = specs(make_workspace("forms"))
    assert len(found) == 6
    for spec in found:
        asked = spec.schema["properties"]
        signature = inspect.signature(spec.flow.fn).parameters
        assert {*asked, "workspace"} == set(signature), spec.name
        assert [asked[one.name]["position"] for one in FORMS[spec.name]] == list(range(len(asked)))
        for name, one in asked.items():
            assert one["title"] != name
            assert one["description"].endswith(".")
    forms = {spec.name: spec.schema for spec in found}
    assert forms["promote"]["required"] == []  # by default the challenger
    assert forms["approve"]["required"] == ["version"]
    assert forms["approve"]["properties"]["version"]["type"] == "integer"
    assert forms["approve"]["properties"]["version"]["minimum"] == 1


@pytest.mark.parametrize(
    ("flow", "wrong", "right"),
    [
        ("promote", {"version": 0}, {"version": 3}),
        ("promote", {"version": "three"}, {"reason": "better"}),
        ("approve", {}, {"version": 3}),
        ("rollback", {"to": "three"}, {"to": 3}),
        ("rollback", {"to": 0}, {}),
        ("retrain", {"min_rows": -1}, {"min_rows": 100}),
        ("ingest", {"paths": "a.csv"}, {"paths": ["a.csv"]}),
    ],
)
def test_prefect_refuses_what_makes_no_sense(
    configured: Server,
    make_workspace: MakeWorkspace,
    flow: str,
    wrong: dict[str, Any],
    right: dict[str, Any],
) -> None:
    deploy(make_workspace("strict"), replace=True)  # of the case before, in another folder
    later: State[Any] = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(days=1))
    with configured.client() as client:
        found = client.read_deployment_by_name(f"{flow}/strict")
        with pytest.raises(PrefectHTTPStatusError, match="409"):
            client.create_flow_run_from_deployment(found.id, parameters=wrong, state=later)
        run = client.create_flow_run_from_deployment(found.id, parameters=right, state=later)
    assert run.parameters == {**found.parameters, **right}


SCHEDULES = {
    "cron": ('cron = "0 3 * * *"\ntimezone = "Europe/Berlin"', "Europe/Berlin"),
    "interval": ('interval = "6h"', "UTC"),
    "rrule": ('rrule = "FREQ=WEEKLY;BYDAY=MO;BYHOUR=3;BYMINUTE=0;BYSECOND=0"', "UTC"),
}


def test_a_schedule_is_made_changed_and_removed(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    def there() -> list[Any]:
        with configured.client() as client:
            return client.read_deployment_schedules(
                client.read_deployment_by_name("retrain/timed").id
            )

    for kind, (text, zone) in SCHEDULES.items():
        ws = make_workspace("timed", f"[schedule]\n{text}")
        deploy(ws)
        (found,) = there()
        assert hasattr(found.schedule, kind)
        assert found.schedule.timezone == zone
        assert _changes(deploy(ws)) == {"unchanged"}
    with configured.client() as client:
        deployment = client.read_deployment_by_name("retrain/timed")
        # One that somebody added in Prefect's page is his own; ours he has paused.
        client.create_deployment_schedules(deployment.id, [(found.schedule, True)])
        client.update_deployment_schedule(deployment.id, found.id, active=False)
    deploy(make_workspace("timed", f"[schedule]\n{SCHEDULES['cron'][0]}"))
    assert sorted((s.slug or "", s.active) for s in there()) == [("", True), ("perdure", False)]
    deploy(make_workspace("timed"))
    assert [s.slug for s in there()] == [None]


def test_what_somebody_paused_stays_paused(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    deploy(make_workspace("paused"))
    with configured.client() as client:
        client.pause_deployment(client.read_deployment_by_name("retrain/paused").id)
        for one in client.read_automations_by_name("paused: data arrived"):
            client.pause_automation(one.id)
    result = deploy(make_workspace("paused", "[trigger]\nmin_rows = 9"))
    assert [f.name for f in result.flows if f.paused] == ["retrain/paused"]
    assert [(a.name, a.change) for a in result.automations if a.paused] == [
        ("paused: data arrived", "updated")
    ]


def test_a_schedule_that_prefect_does_not_know_is_a_wrong_configuration(
    make_workspace: MakeWorkspace,
) -> None:
    with pytest.raises(ConfigError, match=r"schedule\.cron = 'every monday'"):
        specs(make_workspace("wrong", '[schedule]\ncron = "every monday"'))
    with pytest.raises(ConfigError, match=r"schedule\.rrule = 'FREQ=NEVER'"):
        specs(make_workspace("wrong", '[schedule]\nrrule = "FREQ=NEVER"'))


def as_up(ws: Workspace, state: Literal["starting", "ready"]) -> None:
    """Let it stand that `perdure up` runs, for whoever holds its lock."""
    now = Running(1, "here", "2026-01-01T00:00:00+00:00", state, "http://x/api", None, "x", ())
    running.write(ws.state, now)


def test_a_secret_that_only_perdure_up_has_is_no_fault_of_a_deploy_by_hand(
    configured: Server,
    make_workspace: MakeWorkspace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    ws = make_workspace("secret", '[[notify]]\nkind = "webhook"\nurl = "env:NOT_SET"')
    assert _changes(deploy(ws)) == {"created"}
    assert "the environment variable NOT_SET is not set here" in caplog.text
    with running.hold(ws.state):
        as_up(ws, "ready")  # a service: what it has in its environment is not here
        deploy(ws)
        as_up(ws, "starting")  # as its part
        with pytest.raises(ConfigError, match="NOT_SET"):
            deploy(ws)


def test_it_says_if_nobody_takes_the_runs(
    configured: Server, make_workspace: MakeWorkspace, caplog: pytest.LogCaptureFixture
) -> None:
    """As after another `resources.pool`, for which the `perdure up` that runs has no worker."""
    ws = make_workspace("nobody")
    deploy(ws)
    assert "from the work pool cpu, so those of retrain wait" in caplog.text
    _ask(configured, "cpu", "nobody")
    caplog.clear()
    deploy(ws)
    assert "no worker" not in caplog.text

    ws = make_workspace("nobody", '[resources]\npool = "gpu"')
    deploy(ws)
    assert "from the work pool gpu, so those of retrain wait" in caplog.text
    assert "perdure worker --pool gpu" in caplog.text
    caplog.clear()
    with running.hold(ws.state):
        as_up(ws, "starting")  # whose workers are on their way
        deploy(ws)
    assert "no worker" not in caplog.text

    [check] = [one for one in examine(str(ws.root)) if one.name == "prefect"]
    assert not check.ok
    assert "no worker takes runs from the work pool gpu" in check.detail
    _ask(configured, "gpu", "nobody")
    [check] = [one for one in examine(str(ws.root)) if one.name == "prefect"]
    assert check.ok


def _ask(server: Server, pool: str, queue: str) -> None:
    """Ask for runs, as a worker does, and wait until the server has seen it."""
    with server.client() as client:
        client.get_scheduled_flow_runs_for_work_pool(pool, work_queue_names=[queue])

        def seen() -> bool:
            return client.read_work_queue_by_name(queue, pool).status == WorkQueueStatus.READY

        until(seen)


def test_without_a_server_it_says_what_to_do(make_workspace: MakeWorkspace) -> None:
    with pytest.raises(UsageError) as refused:
        deploy(make_workspace("alone"))
    assert refused.value.hint == "perdure up, or set PREFECT_API_URL"


def test_deploying_does_not_drop_the_run_that_downtime_made_late(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    ws = make_workspace("late", '[schedule]\ncron = "0 3 * * *"')
    deploy(ws)
    runs = _scheduled(configured, "late")
    assert len(runs) >= 3
    _pass_time(configured, days=3)
    deploy(ws)
    late = [run for run in _scheduled(configured, "late") if run.next_scheduled_start_time]
    due = [run for run in late if _expected(run) < datetime.now(UTC)]
    assert len(due) >= 2
    # A worker starts the newest, and cancels the others (test_worker.py sees it do so).
    left = [run for run in due if run.id not in overtaken(due)]
    assert [run.id for run in left] == [max(due, key=_expected).id]


def _expected(run: FlowRun) -> Any:
    return run.expected_start_time


def _scheduled(server: Server, name: str) -> list[FlowRun]:
    for _ in range(300):
        with server.client() as client:
            runs = [r for r in client.read_flow_runs() if f"perdure:{name}" in r.tags]
        found = [r for r in runs if r.state_type == StateType.SCHEDULED and r.auto_scheduled]
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("the scheduler made no runs")


def _pass_time(server: Server, days: int) -> None:
    """As if the server had been down: what it had scheduled has gone by."""
    with closing(sqlite3.connect(server.folder / "prefect.db", timeout=30)) as database, database:
        for column in ("expected_start_time", "next_scheduled_start_time"):
            changed = database.execute(
                f"UPDATE flow_run SET {column} = strftime('%Y-%m-%d %H:%M:%f', {column}, ?)"
                " WHERE state_type = 'SCHEDULED' AND auto_scheduled",
                (f"-{days} days",),
            )
    assert changed.rowcount > 0


def test_names_are_those_that_prefect_allows(tmp_path: Path) -> None:
    assert names.slug("weather") == "weather"
    different = ["Weather", "weather 2", "weather-2", "weather_2", "天気", "雨", str(uuid4())]
    assert len({names.slug(one) for one in different}) == len(different)
    for one in different:
        assert names.slug(one).replace("-", "").isalnum()
        assert names.slug(one).isascii()
    assert names.full("retrain", "rain & snow") == f"retrain/{names.slug('rain & snow')}"
    (tmp_path / "perdure.toml").write_text(
        '[model]\nname = "Rain & Snow"\n[data]\ntarget = "y"\ntask = "regression"\n'
    )
    ws: Workspace = config.read(tmp_path)
    assert {spec.queue for spec in specs(ws)} == {names.slug("Rain & Snow")}
