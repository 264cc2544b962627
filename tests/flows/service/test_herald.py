"""What became of the model is told once, to everybody who chose it, whatever goes down."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
from perdure.flows.service import claims, events, herald, outbox, tidings
from perdure.flows.telling import telling
from perdure.records import Change, Event, Verdict
from perdure.tasks.registry import codec, quick
from tests.flows.service.herald_kit import (
    AT,
    BY,
    NO,
    later,
    promote,
    refuse,
    roll_back,
    tell_at_once,
    to,
    told,
    versions,
    waiting,
    workspace,
)
from tests.flows.service.post_kit import http_receiver, nobody

YES = Verdict("passed", ())


@pytest.mark.parametrize("by_mlflow", [False, True])
def test_the_history_is_told_from_now_on_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_mlflow: bool
) -> None:
    """Also where it is MLflow that is asked, as on a server."""
    if by_mlflow:
        monkeypatch.setattr(quick, "REVISIONS", frozenset())
    with http_receiver() as box, http_receiver() as held, http_receiver() as nothing:
        ws = workspace(tmp_path, to(box), to(held, "held"), to(nothing, "crashed"))
        registry = versions(ws)
        promote(registry, 1)
        assert herald.tell(ws) == 0  # what was before is no news
        promote(registry, 2)
        refuse(registry, 3)
        roll_back(registry, 1)
        assert herald.tell(ws) == 4
        assert told(box) == [("promoted", 2), ("refused", 3), ("rolled back", 1)]
        assert [said["replaced"] for said in box.posts] == [1, None, 2]
        assert [said["reason"] for said in box.posts] == ["why", "; ".join(NO.refusals), "bad"]
        assert {said["by"] for said in box.posts} == {BY}
        assert told(held) == [("held", None)]
        assert held.posts[0]["experiences"] == ["000001-aaaaaaaa"]
        for _ in range(3):
            assert herald.tell(ws) == 0
        assert len(box.got) == 3
        assert nothing.got == []


@pytest.mark.parametrize("recorded_first", [True, False])
def test_a_champion_that_is_moved_in_mlflow_is_one_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded_first: bool
) -> None:
    """Whichever comes first: the history's event, or a look at the aliases."""
    with http_receiver() as box, http_receiver() as held:
        ws = workspace(tmp_path, to(box), to(held, "held"))
        registry = versions(ws)
        promote(registry, 1)
        promote(registry, 2)
        herald.tell(ws)
        registry.client.call("set_registered_model_alias", "weather", "champion", "3")
        assert herald.tell(ws) == 0  # the next command records it
        if not recorded_first:
            monkeypatch.setattr(tidings, "RECORDED_S", 0.0)  # there was none
            assert herald.tell(ws) == 1
        assert settle(registry).recorded == {"champion": 3, "challenger": 3}
        herald.tell(ws)
        assert herald.tell(ws) == 0
        [said] = box.posts
        assert (said["event"], said["version"], said["replaced"]) == ("promoted", 3, 2)
        assert said["by"] == "MLflow"
        assert held.posts == []
        promote(registry, 2)
        assert herald.tell(ws) == 1
        assert box.posts[1]["by"] == BY


def test_a_version_that_waits_for_approval_is_a_notice(tmp_path: Path) -> None:
    with http_receiver() as box:
        ws = workspace(tmp_path, to(box))
        registry = versions(ws)
        promote(registry, 1)
        herald.tell(ws)
        change = decisions.passed(
            registry.read(), registry.version(2), YES, False, BY, ws.config.tournament
        )
        registry.apply(change)
        assert herald.tell(ws) == 1
        assert told(box) == [("waiting", 2)]
        assert box.posts[0]["text"] == "weather: version 2 waits for approval"
        assert box.posts[0]["reason"] == "passed every gate; waits for approval"


def test_a_change_under_way_is_not_taken_for_somebody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_arguments: object) -> None:
        raise Killed

    with http_receiver() as box:
        ws = workspace(tmp_path, to(box))
        registry = versions(ws)
        promote(registry, 1)
        herald.tell(ws)
        with monkeypatch.context() as patched:
            patched.setattr("perdure.tasks.registry.history.History.append", killed)
            with pytest.raises(Killed):
                promote(registry, 2)
        assert registry.read().champion == registry.version(2)  # the alias has moved
        assert herald.tell(ws) == 0
        registry.recover()
        assert herald.tell(ws) == 1
        assert box.posts[0]["by"] == BY


def test_a_receiver_that_is_down_gets_it_later_in_order_and_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver() as box, ExitStack() as down:
        port = down.enter_context(nobody())
        dead = f'kind = "webhook"\nurl = "http://127.0.0.1:{port}"'
        ws = workspace(tmp_path, dead, to(box))
        registry = versions(ws)
        herald.tell(ws)
        promote(registry, 1)
        promote(registry, 2)
        assert herald.tell(ws) == 2
        assert told(box) == [("promoted", 1), ("promoted", 2)]
        assert [one["tries"] for one in waiting(ws)] == [1, 0]
        assert herald.tell(ws) == 0
        assert waiting(ws)[0]["tries"] == 1  # it pauses
        pauses = []
        for _ in range(12):
            now = later(monkeypatch, waiting(ws)[0]["due"])
            assert herald.tell(ws) == 0
            pauses.append(waiting(ws)[0]["due"] - now)
        assert pauses[:2] == [2 * outbox.FIRST_PAUSE_S, 4 * outbox.FIRST_PAUSE_S]
        assert pauses == sorted(pauses)
        assert pauses[-1] == outbox.LONGEST_PAUSE_S
        down.close()
        with http_receiver(port) as back:
            later(monkeypatch, waiting(ws)[0]["due"])
            assert herald.tell(ws) == 2
            assert told(back) == told(box)
        assert waiting(ws) == []


def test_it_is_given_up_after_a_day_with_a_logged_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with nobody() as port:
        ws = workspace(tmp_path, f'kind = "webhook"\nurl = "http://127.0.0.1:{port}"')
        registry = versions(ws)
        herald.tell(ws)
        promote(registry, 1)
        herald.tell(ws)
        assert len(waiting(ws)) == 1
        later(monkeypatch, waiting(ws)[0]["since"] + outbox.GIVE_UP_S + 1)
        herald.tell(ws)
        assert len(waiting(ws)) == 1  # perhaps the clock has only jumped
        for _ in range(outbox.LEAST_TRIES - 2):
            later(monkeypatch, waiting(ws)[0]["due"])
            herald.tell(ws)
        assert waiting(ws) == []
    [record] = [one for one in caplog.records if one.levelname == "ERROR"]
    assert "Given up after a day" in record.getMessage()


def test_a_clock_that_was_put_back_does_not_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nobody() as port:
        ws = workspace(tmp_path, f'kind = "webhook"\nurl = "http://127.0.0.1:{port}"')
        registry = versions(ws)
        herald.tell(ws)
        promote(registry, 1)
        herald.tell(ws)
    later(monkeypatch, time.time() - 40 * 86400)
    with http_receiver(port) as back:
        assert herald.tell(ws) == 1
        assert told(back) == [("promoted", 1)]


class Killed(BaseException):
    """Like SIGKILL, nothing catches it."""


def test_killed_anywhere_it_tells_each_and_hardly_one_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each write of the outbox, and before each request."""
    with http_receiver() as box:
        ws = workspace(tmp_path, to(box))
        registry = versions(ws)
        herald.tell(ws)
        promote(registry, 1)
        promote(registry, 2)
        kept = outbox.place(ws).read_bytes()
        twice = []
        for point in range(100):
            outbox.place(ws).write_bytes(kept)
            box.got.clear()
            with monkeypatch.context() as patched:
                left = _die_after(patched, point)
                try:
                    herald.tell(ws)
                except Killed:
                    pass
                else:
                    assert left() >= 0
                    break
            herald.tell(ws)
            seen = told(box)
            assert list(dict.fromkeys(seen)) == [("promoted", 1), ("promoted", 2)]
            twice.append(len(seen) - 2)
        # Three writes and two requests; sent, and killed before that was written down.
        assert twice == [0, 0, 1, 0, 1]
        assert told(box) == [("promoted", 1), ("promoted", 2)]


def _die_after(patched: pytest.MonkeyPatch, steps: int) -> Callable[[], int]:
    """Let writes of the outbox and requests go well so many times."""
    from perdure.flows.service.receivers import Receiver

    left = steps

    def stepped(done: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any) -> Any:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return done(*args)

        return step

    patched.setattr(outbox.Outbox, "save", stepped(outbox.Outbox.save))
    patched.setattr(Receiver, "send", stepped(Receiver.send))
    return lambda: left


def test_killed_while_a_receiver_answers_it_is_told_by_the_next(tmp_path: Path) -> None:
    """The real signal: nothing is cleaned up, and no lock is left."""
    with http_receiver() as box:
        ws = workspace(tmp_path, to(box))
        registry = versions(ws)
        herald.tell(ws)
        promote(registry, 1)
        box.hold.clear()
        process = subprocess.Popen([sys.executable, "-c", TELL, str(tmp_path)])
        assert box.asked.wait(60)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        box.hold.set()
        assert herald.tell(ws) == 1
        assert set(told(box)) == {("promoted", 1)}


TELL = """
import pathlib, sys
from perdure import config
from perdure.flows.service import herald
herald.tell(config.read(pathlib.Path(sys.argv[1])))
"""


def test_two_at_once_tell_once(tmp_path: Path) -> None:
    with http_receiver() as box:
        ws = workspace(tmp_path, to(box))
        registry = versions(ws)
        herald.tell(ws)
        for number in (1, 2, 3, 4):
            promote(registry, number)
        assert tell_at_once(ws, ws) == 4
        assert told(box) == [("promoted", number) for number in (1, 2, 3, 4)]


def test_of_two_machines_on_one_registry_one_tells(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    with http_receiver() as box:
        one = workspace(tmp_path / "one", to(box), uri=uri)
        two = workspace(tmp_path / "two", to(box), uri=uri)
        registry = versions(one)
        promote(registry, 4)
        herald.tell(one)
        promote(registry, 1)
        assert herald.tell(two) == 1  # it goes on from where the other one stands
        promote(registry, 2)
        assert herald.tell(one) == 1
        assert (herald.tell(one), herald.tell(two)) == (0, 0)
        promote(registry, 3)
        assert tell_at_once(one, two) == 1
        assert told(box) == [("promoted", 1), ("promoted", 2), ("promoted", 3)]
        tags = registry.client.call("get_registered_model", "weather").tags
        assert tags[codec.PREFIX + claims.TELLING] == claims.NOBODY


def test_a_machine_that_was_killed_while_it_began_is_taken_over_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    with http_receiver() as box:
        ws = workspace(tmp_path / "one", to(box), uri=uri)
        registry = versions(ws)
        herald.tell(ws)
        promote(registry, 1)
        tag = codec.PREFIX + claims.TELLING
        registry.client.call("set_registered_model_tag", "weather", tag, "another machine")
        assert herald.tell(ws) == 0
        later(monkeypatch, time.time() + claims.CLAIM_S + 1)
        assert herald.tell(ws) == 1
        assert told(box) == [("promoted", 1)]


def test_what_happened_is_an_event_of_prefects_and_a_crash_is_told(
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
        herald.tell(ws)
        promote(registry, 1)
        refuse(registry, 2)
        registry.client.call("set_registered_model_alias", "weather", "champion", "3")
        settle(registry)
        drifted = (
            Event(AT, "drifted", experience="000002-b", reason="drifting: wind", by=BY),
            Event(AT, "metric fell", 3, experience="000002-b", reason="0.4", by=BY),
        )
        registry.apply(Change("arrived-1", events=drifted))
        with get_client(sync_client=True) as client:
            tags = ["perdure", "perdure:weather"]
            ends: list[tuple[list[str], Any]] = [
                (tags, Crashed(message="the process is gone")),
                (tags, Failed(message="LockHeld: somebody is at it")),
                (["perdure", "perdure:other"], Crashed(message="not ours")),
                (tags, Crashed(message="the process is gone")),
            ]
            ids = []
            for own, state in ends:
                run = client.create_flow_run(stand_in, tags=own)
                client.set_flow_run_state(run.id, state, force=True)
                ids.append(run.id)
            # 3 notices of the history, one of the two crashes that are alike; 6 and 2 events.
            assert herald.tell(ws) == 4 + 8
            assert herald.tell(ws) == 0
            marked = [client.read_flow_run(one).tags for one in ids]
        assert ["perdure:told" in one for one in marked] == [True, False, False, True]
        assert [said["event"] for said in box.posts] == [
            "promoted", "refused", "promoted", "crashed",
        ]  # fmt: skip
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


def _events(api: str, ws: Workspace, count: int) -> list[dict[str, Any]]:
    """The events of a workspace's model, once there are so many."""
    deadline = time.monotonic() + 60
    ours = {"labels": {"perdure.workspace": [str(ws.root)]}}
    wanted = {"filter": {"event": {"prefix": ["perdure."]}, "resource": ours}, "limit": 50}
    while True:
        answer = httpx.post(f"{api}/events/filter", json=wanted).raise_for_status()
        found: list[dict[str, Any]] = answer.json()["events"]
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def test_without_prefect_and_with_mlflow_down_nothing_is_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with http_receiver() as box, nobody() as port:
        nowhere = f"http://127.0.0.1:{port}"
        ws = workspace(tmp_path, to(box), uri=nowhere)
        assert herald.tell(ws) == 0
        assert herald.tell(ws) == 0
        [record] = [one for one in caplog.records if "registry" in one.getMessage()]
        assert nowhere in record.getMessage()


def test_by_hand_it_is_told_at_the_end_unless_perdure_up_does_it(tmp_path: Path) -> None:
    with http_receiver() as box:
        ws = workspace(tmp_path, to(box))
        registry = versions(ws)
        with telling(str(tmp_path)):
            pass
        with _up(ws), telling(str(tmp_path)):
            assert running.read(ws.state) is not None
            promote(registry, 1)
        assert box.got == []
        with pytest.raises(GateRefused), telling(str(tmp_path)):
            raise GateRefused("it is told all the same")
        assert told(box) == [("promoted", 1)]
        with telling(str(tmp_path / "no workspace")):
            pass


@contextmanager
def _up(ws: Workspace) -> Iterator[None]:
    """As if `perdure up` ran: its lock is held, and its record is there."""
    with running.hold(ws.state):
        now = running.Running(1, "host", AT, "ready", "http://127.0.0.1:1/api", None, "", ())
        running.write(ws.state, now)
        yield


def test_without_notices_and_prefect_nothing_is_written(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    assert herald.tell(ws) == 0
    assert not outbox.place(ws).exists()


def test_a_spoilt_file_begins_anew(tmp_path: Path) -> None:
    with http_receiver() as box:
        ws = workspace(tmp_path, to(box))
        registry = versions(ws)
        herald.tell(ws)
        for spoilt in (b"", b"[]", b'{"format": 1}', b'{"format": 2, "told": null}'):
            outbox.place(ws).write_bytes(spoilt)
            promote(registry, 1 if registry.read().champion is None else 2)
            assert herald.tell(ws) == 0
        refuse(registry, 3)
        assert herald.tell(ws) == 1
