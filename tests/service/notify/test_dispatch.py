"""What became of a model reaches each receiver: in order, at least once, whatever goes down."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.settings import temporary_settings

from perdure import running
from perdure.config import Workspace
from perdure.errors import GateRefused
from perdure.flows import decisions
from perdure.flows.line import settle
from perdure.orchestration import events, outcomes
from perdure.records import Change, Event, Verdict
from perdure.service.notify import cursor
from perdure.service.notify.after import notify_after
from perdure.service.notify.dispatch import GIVEN_UP, send_pending
from perdure.tasks.registry import quick
from tests.service.notify.kit import (
    AT,
    BY,
    NO,
    promote,
    received,
    refuse,
    roll_back,
    send_at_once,
    to,
    versions,
    workspace,
)
from tests.service.notify.receivers import http_receiver, nobody

YES = Verdict("passed", ())


@pytest.mark.parametrize("by_mlflow", [False, True])
def test_each_gets_what_it_chose_in_order_once_and_nothing_from_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_mlflow: bool
) -> None:
    """Also where it is MLflow that is asked, as on a server."""
    if by_mlflow:
        monkeypatch.setattr(quick, "REVISIONS", frozenset())
    with http_receiver() as box, http_receiver() as held, http_receiver() as nothing:
        ws = workspace(tmp_path, to(box), to(held, "held"), to(nothing, "crashed"))
        registry = versions(ws)
        promote(registry, 1)
        assert send_pending(ws) == 0
        promote(registry, 2)
        refuse(registry, 3)
        roll_back(registry, 1)
        assert send_pending(ws) == 4
        assert received(box) == [("promoted", 2), ("refused", 3), ("rolled back", 1)]
        assert [post["replaced"] for post in box.posts] == [1, None, 2]
        assert [post["reason"] for post in box.posts] == ["why", "; ".join(NO.refusals), "bad"]
        assert {post["by"] for post in box.posts} == {BY}
        assert received(held) == [("held", None)]
        assert held.posts[0]["experiences"] == ["000001-aaaaaaaa"]
        assert send_pending(ws) == 0
        assert nothing.got == []


def test_a_receiver_that_is_down_gets_it_later_and_holds_up_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with http_receiver() as box, ExitStack() as down:
        port = down.enter_context(nobody())
        dead = f'kind = "webhook"\nurl = "http://127.0.0.1:{port}"'
        ws = workspace(tmp_path, dead, to(box))
        registry = versions(ws)
        send_pending(ws)
        promote(registry, 1)
        promote(registry, 2)
        assert send_pending(ws) == 2
        assert received(box) == [("promoted", 1), ("promoted", 2)]
        assert send_pending(ws) == 0
        down.close()
        with http_receiver(port) as back:
            assert send_pending(ws) == 2
            assert received(back) == received(box)
        assert len(box.got) == 2
    [record] = [one for one in caplog.records if "notify.0" in one.getMessage()]  # logged once
    assert "are sent later" in record.getMessage()


def test_killed_while_a_receiver_answers_the_next_call_sends_it(tmp_path: Path) -> None:
    """The real signal, between the sending and the move of the cursor."""
    with http_receiver() as box:
        ws = workspace(tmp_path, to(box))
        registry = versions(ws)
        send_pending(ws)
        promote(registry, 1)
        promote(registry, 2)
        box.hold.clear()
        process = subprocess.Popen([sys.executable, "-c", SEND, str(tmp_path)])
        assert box.asked.wait(60)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        box.hold.set()
        assert send_pending(ws) == 2
        assert received(box)[-2:] == [("promoted", 1), ("promoted", 2)]
        assert send_pending(ws) == 0


SEND = """
import pathlib, sys
from perdure import config
from perdure.service.notify import dispatch
dispatch.send_pending(config.read(pathlib.Path(sys.argv[1])))
"""


def test_what_is_older_than_a_day_is_given_up_with_a_logged_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with http_receiver() as box:
        ws = workspace(tmp_path, to(box))
        registry = versions(ws)
        send_pending(ws)
        old = (datetime.now(UTC) - GIVEN_UP - timedelta(minutes=1)).isoformat()
        registry.apply(Change("old", events=(Event(old, "promoted", 1, by=BY),)))
        promote(registry, 2)
        assert send_pending(ws) == 1
        assert received(box) == [("promoted", 2)]
    [record] = [one for one in caplog.records if one.levelname == "ERROR"]
    assert old in record.getMessage()


def test_a_champion_that_is_moved_in_mlflow_is_one_notice(tmp_path: Path) -> None:
    with http_receiver() as box, http_receiver() as held:
        ws = workspace(tmp_path, to(box), to(held, "held"))
        registry = versions(ws)
        promote(registry, 1)
        promote(registry, 2)
        send_pending(ws)
        registry.client.call("set_registered_model_alias", "weather", "champion", "3")
        assert send_pending(ws) == 0  # the next command, or `perdure up`, records it
        assert settle(registry).recorded == {"champion": 3, "challenger": 3}
        assert send_pending(ws) == 1
        [post] = box.posts
        assert (post["event"], post["version"], post["replaced"]) == ("promoted", 3, 2)
        assert post["by"] == "MLflow"
        assert held.posts == []


def test_a_version_that_waits_for_approval_is_a_notice(tmp_path: Path) -> None:
    with http_receiver() as box:
        ws = workspace(tmp_path, to(box))
        registry = versions(ws)
        promote(registry, 1)
        send_pending(ws)
        now, version = registry.read(), registry.version(2)
        registry.apply(decisions.passed(now, version, YES, False, BY, ws.config.tournament))
        assert send_pending(ws) == 1
        assert received(box) == [("waiting", 2)]
        assert box.posts[0]["text"] == "weather: version 2 waits for approval"
        assert box.posts[0]["reason"] == "passed every gate; waits for approval"


def test_of_two_at_once_one_sends(tmp_path: Path) -> None:
    with http_receiver() as box:
        ws = workspace(tmp_path, to(box))
        registry = versions(ws)
        send_pending(ws)
        for number in (1, 2, 3, 4):
            promote(registry, number)
        assert send_at_once(ws, ws) == 4
        assert received(box) == [("promoted", number) for number in (1, 2, 3, 4)]


def test_crashed_runs_are_noticed_and_everything_is_an_event_of_prefects(
    tmp_path: Path, prefect_server: str
) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed, Failed

    @flow(name="retrain")
    def stand_in() -> None: ...

    with http_receiver() as box, temporary_settings({"api.url": prefect_server}):
        ws = workspace(tmp_path, to(box))
        registry = versions(ws)
        tags = ["perdure", "perdure:weather"]
        with get_client(sync_client=True) as client:

            def end(own: list[str], state: Any) -> None:
                run = client.create_flow_run(stand_in, tags=own)
                client.set_flow_run_state(run.id, state, force=True)

            end(tags, Crashed(message="before the first call"))
            send_pending(ws)
            promote(registry, 1)
            refuse(registry, 2)
            registry.client.call("set_registered_model_alias", "weather", "champion", "3")
            settle(registry)
            drifted = (
                Event(_now(), "drifted", experience="000002-b", reason="drifting: wind", by=BY),
                Event(_now(), "metric fell", 3, experience="000002-b", reason="0.4", by=BY),
            )
            registry.apply(Change("arrived-1", events=drifted))
            end(tags, Crashed(message="the process is gone"))
            end(tags, Failed(name=outcomes.LOCKED, message="another process has the lock"))
            end(["perdure", "perdure:other"], Crashed(message="another model's"))
            end(tags, Crashed(message="the process is gone"))
        # 3 notices of the history, one of the two crashes that are alike; 6 and 2 events.
        assert send_pending(ws) == 4 + 8
        assert send_pending(ws) == 0
        occasions = [post["event"] for post in box.posts]
        assert occasions == ["promoted", "refused", "promoted", "crashed"]
        assert box.posts[3]["reason"] == "the process is gone"
        found = _events(prefect_server, ws, 8)
        assert sorted(one["event"] for one in found) == [
            "perdure.drift.detected",
            "perdure.experience.held",
            "perdure.metric.fell",
            "perdure.model.promoted",
            "perdure.model.promoted",
            "perdure.model.refused",
            "perdure.run.crashed",
            "perdure.run.crashed",
        ]
        by = {(e["payload"].get("by"), e["resource"][events.BY]) for e in found}
        assert by == {(BY, "perdure"), ("MLflow", "MLflow"), (None, "perdure")}
        assert str(box.url) not in json.dumps(found)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _events(api: str, ws: Workspace, count: int) -> list[dict[str, Any]]:
    """Return the events of a workspace's model, once there are so many."""
    deadline = time.monotonic() + 60
    ours = {"labels": {"perdure.workspace": [str(ws.root)]}}
    wanted = {"filter": {"event": {"prefix": ["perdure."]}, "resource": ours}, "limit": 50}
    while True:
        answer = httpx.post(f"{api}/events/filter", json=wanted).raise_for_status()
        found: list[dict[str, Any]] = answer.json()["events"]
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def test_where_mlflow_is_down_nothing_is_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with http_receiver() as box, nobody() as port:
        nowhere = f"http://127.0.0.1:{port}"
        ws = workspace(tmp_path, to(box), uri=nowhere)
        assert send_pending(ws) == 0
        assert send_pending(ws) == 0
        [record] = [one for one in caplog.records if nowhere in one.getMessage()]
        assert record.levelname == "WARNING"


def test_a_command_sends_at_its_end_unless_perdure_up_does(tmp_path: Path) -> None:
    with http_receiver() as box:
        ws = workspace(tmp_path, to(box))
        registry = versions(ws)
        with notify_after(str(tmp_path)):
            pass
        with _up(ws), notify_after(str(tmp_path)):
            assert running.read(ws.state) is not None
            promote(registry, 1)
        assert box.got == []
        with pytest.raises(GateRefused), notify_after(str(tmp_path)):
            raise GateRefused("also after a refusal")
        assert received(box) == [("promoted", 1)]
        with notify_after(str(tmp_path / "no workspace")):
            pass


@contextmanager
def _up(ws: Workspace) -> Iterator[None]:
    """As if `perdure up` ran: its lock is held, and its record is there."""
    with running.hold(ws.state):
        now = running.Running(1, "host", AT, "ready", "http://127.0.0.1:1/api", None, "", ())
        running.write(ws.state, now)
        yield


def test_without_receivers_and_prefect_nothing_is_written(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    assert send_pending(ws) == 0
    assert not cursor.folder(ws).exists()


@pytest.mark.parametrize("spoilt", [b"", b"[]", b'{"events": 1}'])
def test_a_cursor_that_cannot_be_read_begins_now(tmp_path: Path, spoilt: bytes) -> None:
    with http_receiver() as box:
        ws = workspace(tmp_path, to(box))
        registry = versions(ws)
        send_pending(ws)
        (file,) = cursor.folder(ws).glob("*.json")
        file.write_bytes(spoilt)
        promote(registry, 1)
        assert send_pending(ws) == 0
        promote(registry, 2)
        assert send_pending(ws) == 1
        assert received(box) == [("promoted", 2)]
