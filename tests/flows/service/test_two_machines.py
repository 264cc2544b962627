"""Two machines that share MLflow's and Prefect's servers: each thing is told once, by one of them.

Two workspaces stand for two machines: they share nothing on the disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.errors import Unreachable
from perdure.flows.service import claims, crashes, herald, tidings
from perdure.flows.service.outbox import Outbox
from perdure.tasks.registry import Registry
from perdure.tasks.registry.news import News
from tests.flows.service.conftest import Server
from tests.flows.service.herald_kit import (
    later,
    promote,
    tell_at_once,
    to,
    told,
    versions,
    waiting,
    workspace,
)
from tests.flows.service.post_kit import Letterbox, http_receiver, nobody
from tests.tasks.server_kit import Server as MlflowServer
from tests.tasks.version_kit import bare_versions


class Killed(BaseException):
    """Like SIGKILL, nothing catches it."""


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    try:
        server.wait()
        yield server.uri
    finally:
        server.stop()


def die_after(patched: pytest.MonkeyPatch, steps: int, *methods: tuple[type, str]) -> None:
    """Let calls of these methods go well so many times, and end before the next."""
    left = steps

    def stepped(done: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **more: Any) -> Any:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return done(*args, **more)

        return step

    for owner, name in methods:
        patched.setattr(owner, name, stepped(getattr(owner, name)))


def test_over_http_each_promotion_is_told_once(mlflow: str, tmp_path: Path) -> None:
    with http_receiver() as box:
        one = workspace(tmp_path / "one", to(box), uri=mlflow)
        two = workspace(tmp_path / "two", to(box), uri=mlflow)
        registry = Registry(one)
        bare_versions(registry, 4, "s3://nowhere/at/all")
        promote(registry, 4)
        assert (herald.tell(one), herald.tell(two)) == (0, 0)
        expected = []
        for number in (1, 2, 3):
            promote(registry, number)
            expected.append(("promoted", number))
            for _ in range(5):
                if tell_at_once(one, two):
                    break
            assert told(box) == expected
        assert tell_at_once(one, two) == 0
        assert told(box) == expected


def test_killed_anywhere_and_taken_over_from_it_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each write: of the outbox, of the registry. Nothing has been sent by then."""
    monkeypatch.setattr(claims, "SETTLE_S", 0.0)
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    with http_receiver() as box:
        one = workspace(tmp_path / "one", to(box), uri=uri)
        two = workspace(tmp_path / "two", to(box), uri=uri)
        registry = versions(one)
        promote(registry, 1)
        herald.tell(one)
        herald.tell(two)
        now = time.time()
        for point in range(6):
            box.got.clear()
            promote(registry, number := 2 + point % 2)
            with monkeypatch.context() as patched:
                steps = ((Outbox, "save"), (News, "note"), (Outbox, "deliver"))
                die_after(patched, point, *steps)
                with pytest.raises(Killed):
                    herald.tell(one)
                assert box.got == []
            herald.tell(two)
            now = later(monkeypatch, now + claims.CLAIM_S + 1)
            herald.tell(two)  # takes over
            herald.tell(one)  # is there again
            now = later(monkeypatch, now + claims.CLAIM_S + 1)
            for _ in range(2):
                herald.tell(two)
                herald.tell(one)
            assert told(box) == [("promoted", number)], point
            assert waiting(one) == waiting(two) == []


def test_what_the_registry_was_not_told_of_is_not_sent_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow goes away between the claim and its end."""
    monkeypatch.setattr(claims, "SETTLE_S", 0.0)
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    with http_receiver() as box:
        one = workspace(tmp_path / "one", to(box), uri=uri)
        two = workspace(tmp_path / "two", to(box), uri=uri)
        registry = versions(one)
        herald.tell(one)
        promote(registry, 1)
        note = News.note

        def away(self: News, name: str, value: str) -> None:
            if name == claims.TOLD:
                raise Unreachable("MLflow does not answer")
            note(self, name, value)

        for takes_over in (False, True):
            with monkeypatch.context() as patched:
                patched.setattr(News, "note", away)
                assert herald.tell(one) == 0
                assert len(waiting(one)) == 1
            if takes_over:
                assert herald.tell(two) == 0
                later(monkeypatch, time.time() + claims.CLAIM_S + 1)
                assert (herald.tell(two), herald.tell(one)) == (1, 0)
            else:
                assert herald.tell(one) == 1
            assert waiting(one) == []
            promote(registry, 2)
        assert told(box) == [("promoted", 1), ("promoted", 2)]


def crash(server: Server, model: str) -> str:
    from prefect import flow
    from prefect.states import Crashed

    @flow(name="retrain")
    def stand_in() -> None: ...

    with server.client() as client:
        run = client.create_flow_run(stand_in, tags=["perdure", f"perdure:{model}"])
        client.set_flow_run_state(run.id, Crashed(message=f"gone {run.id}"), force=True)
        return str(run.id)


def tags(server: Server, run: str) -> list[str]:
    with server.client() as client:
        return client.read_flow_run(run).tags  # type: ignore[arg-type]  # a UUID as text


def told_crashes(box: Letterbox) -> list[str]:
    return [said["reason"].removeprefix("gone ") for said in box.posts]


def test_a_crash_is_told_by_one_of_two(configured: Server, tmp_path: Path) -> None:
    with http_receiver() as box:
        one, two = (workspace(tmp_path / n, to(box), model="one-of-two") for n in ("one", "two"))
        herald.tell(one)
        herald.tell(two)
        runs = []
        for _ in range(3):
            runs.append(crash(configured, "one-of-two"))
            for _ in range(5):
                if tell_at_once(one, two):
                    break
            assert told_crashes(box) == runs
            marks = [
                tag
                for tag in tags(configured, runs[-1])
                if tag not in ("perdure", "perdure:one-of-two")
            ]
            assert marks == ["perdure:told"]
        assert tell_at_once(one, two) == 0


def test_killed_anywhere_a_crash_is_told_once(
    configured: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import SyncPrefectClient

    monkeypatch.setattr(claims, "SETTLE_S", 0.0)
    with http_receiver() as box:
        one, two = (workspace(tmp_path / n, to(box), model="killed") for n in ("one", "two"))
        herald.tell(one)
        herald.tell(two)
        now = time.time()
        for point in range(5):
            box.got.clear()
            run = crash(configured, "killed")
            with monkeypatch.context() as patched:
                steps = ((Outbox, "save"), (SyncPrefectClient, "update_flow_run"))
                die_after(patched, point, *steps, (Outbox, "deliver"))
                with pytest.raises(Killed):
                    herald.tell(one)
                assert box.got == []
            herald.tell(two)
            if point % 2:
                herald.tell(one)  # is there again before the other one takes over
            now = later(monkeypatch, now + claims.CLAIM_S + 1)
            herald.tell(two)
            herald.tell(one)
            herald.tell(two)
            assert told_crashes(box) == [run], point
            assert crashes.TOLD in tags(configured, run)


def test_a_clock_that_was_wrong_for_a_while_loses_no_crash(
    configured: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver() as box:
        ws = workspace(tmp_path, to(box), model="wrong-clock")
        with monkeypatch.context() as patched:
            later(patched, time.time() + 30 * 86400)
            herald.tell(ws)
        run = crash(configured, "wrong-clock")
        herald.tell(ws)
        assert told_crashes(box) == [run]


def test_a_clock_that_jumps_ahead_makes_no_news_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver() as box:
        ws = workspace(tmp_path, to(box))
        registry = versions(ws)
        herald.tell(ws)
        promote(registry, 1)
        later(monkeypatch, time.time() + 3 * tidings.STALE_S)
        assert herald.tell(ws) == 1
        promote(registry, 2)
        monkeypatch.setattr(tidings, "_looked", {})  # it was not there meanwhile
        assert herald.tell(ws) == 0
        assert told(box) == [("promoted", 1)]


def test_a_source_that_cannot_be_read_holds_up_no_other(
    configured: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_arguments: object) -> None:
        raise LookupError("nobody expected this")

    with http_receiver() as box:
        ws = workspace(tmp_path, to(box), model="broken")
        herald.tell(ws)
        run = crash(configured, "broken")
        monkeypatch.setattr(tidings, "gather", broken)
        herald.tell(ws)
        herald.tell(ws)
        assert told_crashes(box) == [run]
    [record] = [one for one in caplog.records if "nobody expected this" in one.getMessage()]
    assert record.exc_info


def test_a_proxy_for_the_outside_is_not_asked_for_what_is_here(
    server: Server, mlflow: str, tmp_path: Path
) -> None:
    """Commands ask MLflow (requests) and Prefect (httpx) on loopback, whatever the proxy."""
    ws = workspace(tmp_path, uri=mlflow)
    with nobody() as port:
        proxy = f"http://127.0.0.1:{port}"
        environment = {name: value for name, value in os.environ.items() if "proxy" not in name}
        environment |= {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "ALL_PROXY": proxy}
        environment |= {"PREFECT_API_URL": server.api}
        plain = f"import httpx; httpx.get({server.api + '/health'!r})"
        for program, works in ((plain, False), (f"import perdure; {plain}", True)):
            done = subprocess.run([sys.executable, "-P", "-c", program], env=environment)
            assert (done.returncode == 0) is works
        for command in ("deploy", "status"):
            ended = subprocess.run(
                [sys.executable, "-P", "-m", "perdure", command, "--workspace", str(ws.root)],
                env=environment,
                capture_output=True,
                text=True,
            )
            assert ended.returncode == 0, ended.stderr
            assert "does not answer" not in ended.stdout + ended.stderr
