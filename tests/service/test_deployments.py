"""`perdure deploy` against a real server."""

from __future__ import annotations

import importlib
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
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import temporary_settings
from prefect.states import Scheduled

from perdure import config, running
from perdure.config import Workspace
from perdure.errors import ConfigError, UsageError
from perdure.flows import retrain
from perdure.flows.doctor import examine
from perdure.orchestration import names, registry_identity
from perdure.records import Deployed
from perdure.running import Running
from perdure.service.deploy import declared, deploy, form
from tests.promises import kit
from tests.service.conftest import CONFIG, MakeWorkspace, Server, until
from tests.service.test_worker import working


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
        retrain = client.read_deployment_by_name("retrain/retrain-first")
        assert client.read_work_pool("cpu").type == "process"
    assert retrain.work_pool_name == "cpu"
    assert retrain.work_queue_name == "first"
    registry = names.registry_tag(registry_identity.named(ws))
    assert retrain.tags == ["perdure", "perdure:first", registry]
    assert retrain.entrypoint == "perdure.flows.retrain.retrain"
    assert retrain.parameters == {"workspace": ".", "inbox": True, "min_rows": 0, "wait": 15}
    assert retrain.global_concurrency_limit is None  # the model's lock decides
    assert retrain.description is not None
    assert retrain.description.startswith("Learn every experience")
    assert "Args:" not in retrain.description


def test_what_the_configuration_says_anew_is_updated(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    deploy(make_workspace("moves"))
    result = deploy(make_workspace("moves", '[resources]\npool = "gpu"\n[trigger]\nmin_rows = 7'))
    assert {f.name: (f.change, f.pool) for f in result.flows} == {
        "ingest/ingest-moves": ("unchanged", "cpu"),
        "retrain/retrain-moves": ("updated", "gpu"),
        "evaluate/evaluate-moves": ("updated", "gpu"),
        "rollback/rollback-moves": ("unchanged", "cpu"),
        "promote/promote-moves": ("unchanged", "cpu"),
        "approve/approve-moves": ("unchanged", "cpu"),
    }
    assert {a.name: a.change for a in result.automations}["moves: data arrived"] == "updated"
    with configured.client() as client:
        (found,) = client.read_automations_by_name("moves: data arrived")
    action = found.actions[0].model_dump()
    assert action["parameters"] == {"inbox": True, "min_rows": 7}


def test_two_at_once_do_no_harm(configured: Server, make_workspace: MakeWorkspace) -> None:
    ws = make_workspace("twice", '[schedule]\ninterval = "6h"')
    with ThreadPoolExecutor(4) as threads:
        started = [threads.submit(copy_context().run, deploy, ws) for _ in range(4)]
        messages = [future.result() for future in started]
    assert len(messages) == 4
    deploy(ws)  # what two made at once, the next one puts right
    assert _changes(deploy(ws)) == {"unchanged"}
    with configured.client() as client:
        found = [d for d in client.read_deployments() if "perdure:twice" in d.tags]
        automations = [a for a in client.read_automations() if a.name.startswith("twice:")]
        retrain = client.read_deployment_by_name("retrain/retrain-twice")
    assert len(found) == 6
    assert len(automations) == 3
    assert len(retrain.schedules) == 1


def test_the_forms_ask_for_what_people_may_set() -> None:
    forms = {name: form(name) for name in names.NAMES}
    for name, schema in forms.items():
        asked = schema["properties"]
        flow = getattr(importlib.import_module(f"perdure.flows.{name}"), name)
        signature = [one for one in inspect.signature(flow.fn).parameters if one != "workspace"]
        assert sorted(asked, key=lambda one: asked[one]["position"]) == signature, name
        for parameter, one in asked.items():
            assert one["title"] != parameter
            assert one["description"].endswith(".")
    assert forms["promote"]["required"] == []  # by default the challenger
    assert forms["approve"]["required"] == ["version"]
    assert forms["approve"]["properties"]["version"]["type"] == "integer"
    assert forms["approve"]["properties"]["version"]["minimum"] == 1


@pytest.mark.timeout(900)
def test_the_rollback_form_offers_the_versions_there_are(
    configured: Server, tmp_path: Path
) -> None:
    root = kit.make(tmp_path / "versions")
    ws = config.read(root)
    deploy(ws, replace=True)
    full = names.full("rollback", ws.config.model.name)

    def to() -> dict[str, Any]:
        with configured.client() as client:
            schema = client.read_deployment_by_name(full).parameter_openapi_schema
        return dict((schema or {})["properties"]["to"])

    assert "enum" not in to()
    retrain.run(str(root))
    assert to()["enum"] == [1]
    kit.ingest(root, kit.table(2))
    retrain.run(str(root))
    assert to()["enum"] == [2, 1]
    assert "There are: version 2 (serves), version 1." in to()["description"]
    assert _changes(deploy(ws)) == {"unchanged"}

    with configured.client() as client:
        found = client.read_deployment_by_name(full)
        with pytest.raises(PrefectHTTPStatusError, match=r"3 is not one of \[2, 1\]"):
            client.create_flow_run_from_deployment(found.id, parameters={"to": 3})
        run = client.create_flow_run_from_deployment(found.id, parameters={"to": 1})
    with working(configured, ws, "--pool", "cpu"), configured.client() as client:
        until(lambda: client.read_flow_run(run.id).state_type == StateType.COMPLETED)
    assert "version 1 (serves)" in to()["description"]
    now = kit.registry(root).read()
    assert now.champion is not None
    assert now.champion.version == 1


@pytest.fixture(scope="module")
def strict(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """The server, with the flows of a model `strict`."""
    root = tmp_path_factory.mktemp("strict")
    (root / "perdure.toml").write_text(CONFIG.format(name="strict", more=""))
    with temporary_settings(updates={"api.url": server.api}):
        deploy(config.read(root))
    return server


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
    strict: Server, flow: str, wrong: dict[str, Any], right: dict[str, Any]
) -> None:
    later: State[Any] = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(days=1))
    with strict.client() as client:
        found = client.read_deployment_by_name(f"{flow}/{flow}-strict")
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
                client.read_deployment_by_name("retrain/retrain-timed").id
            )

    for kind, (text, zone) in SCHEDULES.items():
        ws = make_workspace("timed", f"[schedule]\n{text}")
        deploy(ws)
        (found,) = there()
        assert hasattr(found.schedule, kind)
        assert found.schedule.timezone == zone
        assert _changes(deploy(ws)) == {"unchanged"}
    with configured.client() as client:
        deployment = client.read_deployment_by_name("retrain/retrain-timed")
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
        client.pause_deployment(client.read_deployment_by_name("retrain/retrain-paused").id)
        for one in client.read_automations_by_name("paused: data arrived"):
            client.pause_automation(one.id)
    result = deploy(make_workspace("paused", "[trigger]\nmin_rows = 9"))
    assert [f.name for f in result.flows if f.paused] == ["retrain/retrain-paused"]
    assert [(a.name, a.change) for a in result.automations if a.paused] == [
        ("paused: data arrived", "updated")
    ]


def test_deployments_of_an_older_version_are_replaced(
    configured: Server, make_workspace: MakeWorkspace
) -> None:
    """They were named by the model alone; a pause that a person set there stays."""
    ws = make_workspace("aged")
    deploy(ws)
    with configured.client() as client:
        retrain = client.read_deployment_by_name("retrain/retrain-aged")
        for name, tags in (("aged", retrain.tags), ("mine", ["mine"])):
            id_ = client.create_deployment(retrain.flow_id, name, work_pool_name="cpu", tags=tags)
            client.pause_deployment(id_)
        client.delete_deployment(retrain.id)
        deploy(ws)
        assert client.read_deployment_by_name("retrain/retrain-aged").paused
        with pytest.raises(ObjectNotFound):
            client.read_deployment_by_name("retrain/aged")
        assert client.read_deployment_by_name("retrain/mine").paused


def test_a_schedule_that_prefect_does_not_know_is_a_wrong_configuration(
    make_workspace: MakeWorkspace,
) -> None:
    with pytest.raises(ConfigError, match=r"schedule\.cron = 'every monday'"):
        declared(make_workspace("wrong", '[schedule]\ncron = "every monday"'))
    with pytest.raises(ConfigError, match=r"schedule\.rrule = 'FREQ=NEVER'"):
        declared(make_workspace("wrong", '[schedule]\nrrule = "FREQ=NEVER"'))


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
    assert names.full("retrain", "rain & snow") == f"retrain/retrain-{names.slug('rain & snow')}"
    (tmp_path / "perdure.toml").write_text(
        '[model]\nname = "Rain & Snow"\n[data]\ntarget = "y"\ntask = "regression"\n'
    )
    ws: Workspace = config.read(tmp_path)
    assert {one.work_queue_name for one in declared(ws)} == {names.slug("Rain & Snow")}
