"""A password in Prefect's address is in no message, whatever Prefect answers."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from prefect.settings import temporary_settings

from perdure import config
from perdure.config import Workspace
from perdure.errors import PerdureError
from perdure.flows import doctor
from perdure.orchestration import configured_server, engine, model_lock, model_slot
from perdure.service.deploy import deploy
from perdure.service.pool_worker import Worker

SECRET = "s3cret"
CONFIG = """\
[model]
name = "weather"
[data]
target = "rain"
task = "classification"
[tracking]
uri = "http://127.0.0.1:9"
"""


@contextmanager
def guarded(*, healthy: bool) -> Iterator[str]:
    """The address, with a password, of a server that lets nobody in.

    Args:
        healthy: It says that it is well all the same.
    """

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(200 if healthy and self.path.endswith("/health") else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            pass

    for verb in ("GET", "POST", "PATCH", "DELETE"):
        setattr(Handler, f"do_{verb}", Handler.answer)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://ada:{SECRET}@127.0.0.1:{server.server_port}/api"
        try:
            with temporary_settings(updates={"api.url": url}):
                yield url
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """One whose registry several machines use."""
    (tmp_path / "perdure.toml").write_text(CONFIG, encoding="utf-8")
    return config.read(tmp_path)


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What Perdure has logged, when the test has ended and before: nothing of it is secret."""
    caplog.set_level(logging.DEBUG, "perdure")
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = Lines()
    logging.getLogger("perdure").addHandler(handler)
    yield lines
    logging.getLogger("perdure").removeHandler(handler)
    assert any("401" in line for line in lines)
    assert not [line for line in lines if SECRET in line]


@engine.flow(name="count", flow_run_name="count")
def count(workspace: str) -> int:
    return len(workspace)


def test_prefect_itself_would_say_it() -> None:
    with guarded(healthy=False) as url, pytest.raises(httpx.HTTPStatusError, match=SECRET):
        httpx.get(url).raise_for_status()


def test_the_doctor(ws: Workspace) -> None:
    with guarded(healthy=False) as url:
        assert "401" in str(configured_server.problem(url))
        assert SECRET not in str(configured_server.problem(url))
        found = doctor._prefect(ws)
        assert (found.ok, SECRET in repr(found)) == (False, False)
    with guarded(healthy=True):  # and nothing else is answered
        found = doctor._try("prefect", lambda: doctor._prefect(ws))
        assert (found.ok, SECRET in repr(found)) == (False, False)
        assert "401" in found.detail


def test_deploy(ws: Workspace) -> None:
    with guarded(healthy=False), pytest.raises(PerdureError, match="401") as error:
        deploy(ws)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("healthy", [False, True])
def test_a_flow(ws: Workspace, messages: list[str], healthy: bool) -> None:
    with guarded(healthy=healthy):
        assert engine.run(count, workspace=str(ws.root)) == len(str(ws.root))
    assert any("going on without it" in line for line in messages)


@pytest.mark.parametrize("healthy", [False, True])
def test_the_models_lock(ws: Workspace, messages: list[str], healthy: bool) -> None:
    with guarded(healthy=healthy), model_lock.hold(ws, "a test"):
        pass
    assert any("locked on this machine alone" in line for line in messages)


def test_the_models_slot(
    ws: Workspace, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_slot, "RENEW_SECONDS", 0.01)
    with guarded(healthy=True) as url:
        slot = model_slot.Slot(url, ws, "a test")
        slot.lease = uuid.uuid4()
        with slot.renewed():
            eventually(messages, "could not be renewed")
        slot.give_back()
    eventually(messages, "could not be freed")


def test_a_worker(messages: list[str]) -> None:
    with guarded(healthy=True) as url, pytest.raises(httpx.HTTPStatusError) as error:
        httpx.get(url).raise_for_status()
    worker = cast(Worker, SimpleNamespace(_away_since=None))
    Worker._note_away(worker, error.value)
    assert any("asking on" in line for line in messages)


def eventually(messages: list[str], text: str) -> None:
    deadline = time.monotonic() + 60
    while not any(text in line for line in messages):
        assert time.monotonic() < deadline
        time.sleep(0.02)
