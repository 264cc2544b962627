"""Flows run with a Prefect server, with a temporary one and with none, and give the same."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.settings import get_current_settings, temporary_settings

from perdure import config
from perdure.errors import GateRefused, Unreachable, UsageError
from perdure.orchestration import configured_server, temporary_server
from perdure.orchestration.engine import flow, report, run, run_name, run_with_server, step


@dataclass(frozen=True)
class Result:
    """What no serializer could carry: a lock cannot be pickled, a frame should not be."""

    lock: threading.Lock
    frame: pd.DataFrame


def carry(result: Result, frame: pd.DataFrame) -> Result:
    assert result.frame is frame
    return result


class Blinks:
    """An outside system that does not answer the first times."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left, self.calls, self.error = times, 0, error

    def call(self) -> int:
        self.calls += 1
        if self.calls <= self.left:
            raise self.error
        return self.calls


@flow(name="where", flow_run_name="where {experience}")
def where(workspace: str, experience: str) -> str | None:
    """The name of the flow run that this is, if any."""
    context = FlowRunContext.get()
    return context.flow_run.name if context and context.flow_run else None


@flow(name="many", flow_run_name=run_name("many"))
def many(workspace: str) -> tuple[Result, bool, list[str | None]]:
    frame = pd.DataFrame({"a": [1.0, float("nan")]})
    result = Result(threading.Lock(), frame)
    same = step(carry, name="carry it")(result, frame) is result
    blinks = Blinks(2, Unreachable("the registry does not answer."))
    assert step(blinks.call, name="blink", retries=2, retry_delay_seconds=0.01)() == 3
    logging.getLogger("perdure").info("half way")
    names = [where(workspace, f"{number:06d}") for number in range(3)]
    report(config.read(Path(workspace)), "many", "# A page", "Many of them!")
    return result, same, names


@flow(name="refuse", flow_run_name="refuse")
def refuse(workspace: str, calls: list[int]) -> None:
    def gate() -> None:
        seen.append(1)
        raise GateRefused("accuracy 0.5 is below 0.9", hint="perdure show 3")

    step(gate, name="gate", retries=5, retry_delay_seconds=0.01)()


seen: list[int] = []


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("workspace")
    (root / "perdure.toml").write_text(
        '[model]\nname = "weather"\n[data]\ntarget = "rain"\ntask = "classification"\n'
    )
    return root


@pytest.fixture(autouse=True)
def _nothing_written() -> None:
    """Other tests of this process had flows that failed, whose exceptions Prefect has written."""
    shutil.rmtree(get_current_settings().home / "storage", ignore_errors=True)


@pytest.fixture
def no_server() -> Iterator[None]:
    """Fails where a temporary server is started."""
    before = dict(temporary_server._servers)
    yield
    assert temporary_server._servers == before


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def rows(workspace: Path, query: str) -> list[tuple[str, ...]]:
    database = workspace / ".perdure" / "prefect.db"
    with sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True) as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


def eventually(look: Callable[[], object], wanted: object) -> None:
    """Prefect's client tells the server of tasks and logs in the background."""
    deadline = time.monotonic() + 60
    while look() != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    assert look() == wanted


@pytest.mark.usefixtures("no_server")
def test_outside_a_flow_run_a_step_is_its_function() -> None:
    blinks = Blinks(1, Unreachable("no."))
    wrapped = step(blinks.call, name="blink", retries=5)
    with pytest.raises(Unreachable):
        wrapped()
    assert (blinks.calls, wrapped()) == (1, 2)


@pytest.mark.usefixtures("no_server")
def test_outside_a_flow_run_nothing_is_reported(workspace: Path) -> None:
    report(config.read(workspace), "many", "# A page", "Many of them!")


def test_on_the_temporary_server_steps_are_tasks_and_nothing_is_written(workspace: Path) -> None:
    result, same, names = run_with_server(many, workspace=str(workspace))
    assert same
    assert result.frame["a"].iloc[0] == 1.0
    assert names == ["where 000000", "where 000001", "where 000002"]
    runs = "SELECT name, state_name FROM flow_run ORDER BY start_time"
    assert rows(workspace, runs) == [
        (name, "Completed") for name in ("many weather", *(str(n) for n in names))
    ]
    tasks = (
        "SELECT name, state_name, run_count FROM task_run "
        "WHERE name NOT LIKE 'where%' ORDER BY name"
    )
    eventually(
        lambda: rows(workspace, tasks), [("blink", "Completed", 3), ("carry it", "Completed", 1)]
    )
    artifacts = "SELECT key, data, description FROM artifact WHERE key IS NOT NULL"
    assert rows(workspace, artifacts) == [("many-weather", json.dumps("# A page"), "Many of them!")]
    eventually(
        lambda: rows(workspace, "SELECT count(*) FROM log WHERE message = 'half way'"), [(1,)]
    )
    assert not list(get_current_settings().home.glob("storage/*"))


def test_a_second_workspace_has_what_happens_in_it_on_its_own_server(
    workspace: Path, tmp_path: Path
) -> None:
    shutil.copy(workspace / "perdure.toml", tmp_path)
    here = "SELECT count(*) FROM task_run WHERE name = 'carry it' AND state_name = 'Completed'"
    logged = "SELECT count(*) FROM log WHERE message = 'half way'"
    before: list[Any] = [rows(workspace, query) for query in (here, logged)]
    run_with_server(many, workspace=str(tmp_path))
    for query in (here, logged):
        eventually(lambda query=query: rows(tmp_path, query), [(1,)])  # type: ignore[misc]  # a default
    assert [rows(workspace, query) for query in (here, logged)] == before
    run_with_server(many, workspace=str(workspace))  # and back again
    for query, [(count,)] in zip((here, logged), before, strict=True):
        eventually(lambda query=query: rows(workspace, query), [(count + 1,)])  # type: ignore[misc]  # a default


def test_later_flows_use_the_same_temporary_server(workspace: Path) -> None:
    run_with_server(where, workspace=str(workspace), experience="1")
    server = temporary_server._servers[workspace / ".perdure" / "prefect.db"]
    run_with_server(where, workspace=str(workspace), experience="2")
    assert temporary_server._servers[workspace / ".perdure" / "prefect.db"] is server


def test_a_refusal_passes_unchanged_and_is_not_tried_again(workspace: Path) -> None:
    seen.clear()
    with pytest.raises(GateRefused) as caught:
        run_with_server(refuse, workspace=str(workspace), calls=[])
    assert caught.value.hint == "perdure show 3"
    assert seen == [1]
    # Prefect insists on writing a failed flow's exception; it is JSON, not a pickle.
    written = [path for path in get_current_settings().home.glob("storage/*") if path.is_file()]
    assert written
    for path in written:
        assert json.loads(path.read_text())["__exc_type__"] == "perdure.errors.GateRefused"


def test_subflows_do_not_wait_for_a_locked_database(
    workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A subflow's start and the tasks before it write at once; Prefect alone answers 503."""

    @flow(name="subflows", flow_run_name="subflows")
    def subflows(workspace: str) -> None:
        for number in range(10):
            for name in ("one", "two", "three"):
                step(lambda: None, name=name)()
            where(workspace, str(number))

    caplog.set_level(logging.DEBUG, "prefect.client")
    run_with_server(subflows, workspace=str(workspace))
    assert [r.message for r in caplog.records if "Another attempt" in r.message] == []


@pytest.mark.usefixtures("no_server")
def test_without_a_configured_server_the_function_is_called(workspace: Path) -> None:
    assert run(where, workspace=str(workspace), experience="1") is None


@pytest.mark.usefixtures("no_server")
def test_a_configured_server_that_is_down_is_done_without(
    workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"http://127.0.0.1:{closed_port()}/api"
    with temporary_settings(updates={"api.url": url}):
        assert run(where, workspace=str(workspace), experience="1") is None
    assert [r.levelname for r in caplog.records if url in r.message] == ["WARNING"]


def test_retrain_runs_on_a_temporary_server_where_the_configured_one_is_down(
    workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"http://127.0.0.1:{closed_port()}/api"
    with temporary_settings(updates={"api.url": url}):
        name = run_with_server(where, workspace=str(workspace), experience="7")
    assert name == "where 7"
    assert [r.levelname for r in caplog.records if url in r.message] == ["WARNING"]


@pytest.mark.usefixtures("no_server")
def test_where_a_server_is_configured_flows_run_there(prefect_server: str, workspace: Path) -> None:
    with temporary_settings(updates={"api.url": prefect_server}):
        for runner in (run, run_with_server):
            assert runner(where, workspace=str(workspace), experience="9") == "where 9"
        with get_client(sync_client=True) as client:
            there = [r.name for r in client.read_flow_runs()]
    assert there.count("where 9") == 2


def test_a_server_that_goes_down_does_not_change_the_result(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = temporary_server.start(tmp_path / "prefect.db")

    @flow(name="last", flow_run_name="last")
    def last(workspace: str) -> str:
        server.stop()
        return step(lambda: "done", name="do it")()

    with temporary_settings(updates={"api.url": server.api_url, "client.max_retries": 0}):
        assert run(last, workspace=".") == "done"
    assert "Prefect did not get the result" in caplog.text


def test_a_server_that_goes_down_does_not_hide_an_error(tmp_path: Path) -> None:
    server = temporary_server.start(tmp_path / "prefect.db")

    @flow(name="last", flow_run_name="last")
    def last(workspace: str) -> None:
        server.stop()
        raise GateRefused("no", hint="why")

    with (
        temporary_settings(updates={"api.url": server.api_url, "client.max_retries": 0}),
        pytest.raises(GateRefused, match="no"),
    ):
        run(last, workspace=".")


@pytest.mark.usefixtures("no_server")
def test_where_no_workspace_is_nothing_is_made(tmp_path: Path) -> None:
    @flow(name="open", flow_run_name="open")
    def open_it(workspace: str) -> None:
        raise UsageError(f"no workspace in {workspace}")

    with pytest.raises(UsageError):
        run_with_server(open_it, workspace=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_temporary_server_ends_with_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from perdure.orchestration import temporary_server\n"
        "print(temporary_server.start(Path(sys.argv[1])).api_url, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "prefect.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    with parent.stdout, parent.stdin:
        url = parent.stdout.readline().strip()
        assert httpx.get(f"{url}/health").status_code == 200
        parent.send_signal(signal.SIGKILL)
        parent.wait()

    def gone() -> bool:
        try:
            return httpx.get(f"{url}/health").status_code != 200
        except httpx.TransportError:
            return True

    eventually(gone, True)


def test_the_user_s_own_settings_stand(tmp_path: Path) -> None:
    """A database that the user set for Prefect's server is the temporary server's too."""
    own = tmp_path / "own.db"
    for template in get_current_settings().home.glob("perdure-empty-*.db"):  # saves 5 s, if there
        shutil.copyfile(template, own)
    program = (
        "import sys; from pathlib import Path; from perdure.orchestration import temporary_server\n"
        "print(temporary_server.start(Path(sys.argv[1])).api_url)"
    )
    url = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "prefect.db")],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{own}",
        },
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert url.startswith("http://127.0.0.1:")
    assert own.stat().st_size > 0
    assert not (tmp_path / "prefect.db").exists()


def test_the_terminal_is_told_what_went_wrong_and_no_more() -> None:
    def result(name: str, level: int) -> bool:
        record = logging.LogRecord(name, level, "", 0, "", None, None)
        return configured_server._worth_the_terminal(record)

    assert result("perdure", logging.INFO)
    assert result("prefect.server", logging.WARNING)
    assert not result("prefect", logging.INFO)
    assert not result("prefect.flow_runs", logging.ERROR)  # the caller gets the error itself
