"""`perdure up --detach` with the real parts, as its user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from perdure import running, server_secret
from perdure.orchestration import names
from perdure.running import Running
from perdure.service import process_group
from tests.promises import kit

PERDURE = (sys.executable, "-P", "-m", "perdure")


def perdure(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PERDURE, *arguments, "--workspace", str(root)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Running]]:
    """The workspace, and what is said to run there."""
    root = kit.make(tmp_path_factory.mktemp("detach") / "small")
    result = perdure(root, "up", "--detach", "--json")
    assert result.returncode == 0, result.stderr
    yield root, running.from_json(json.loads(result.stdout))
    ended = perdure(root, "down")
    assert "Ended: process" in ended.stdout, ended.stderr
    for log in running.logs(root / ".perdure").iterdir():
        assert "CancelledError" not in log.read_text(), log.read_text()
    assert process_group.alive(process_group.of_folder(running.folder(root / ".perdure"))) == []


def test_it_returned_when_everything_was_ready(up: tuple[Path, Running]) -> None:
    root, now = up
    assert [(one.name, one.state) for one in now.parts] == [
        ("server", "running"),
        ("mlflow", "running"),
        ("deploy", "done"),
        ("watcher", "running"),
        ("worker", "running"),
    ]
    assert now.prefect_page is not None
    for page in (now.prefect_page, now.mlflow):
        assert httpx.get(page, follow_redirects=True).status_code == 200
    secret = server_secret.read(root / ".perdure")
    assert secret is not None
    user, _, password = secret.partition(":")
    asked = f"{now.prefect_api}/deployments/filter"
    assert httpx.post(asked, json={}).status_code == 401
    found = httpx.post(asked, json={}, auth=(user, password)).json()
    assert {one["name"] for one in found} == {names.deployment(one, "small") for one in names.NAMES}
    assert json.loads(perdure(root, "status", "--json").stdout)["running"]["pid"] == now.pid
    assert now.mlflow in perdure(root, "status").stdout


def test_a_worker_by_hand_is_let_in_too(up: tuple[Path, Running]) -> None:
    root, _ = up
    command = [*PERDURE, "worker", "--pool", "cpu", "--workspace", str(root)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as worker:
        assert worker.stderr is not None
        try:
            lines = iter(worker.stderr.readline, "")
            assert any(" started!" in line for line in lines)
        finally:
            worker.terminate()
            lines = iter(worker.stderr.readline, "")
            left = [line for line in lines if "Prefect does not answer" in line]
    assert worker.returncode == 0
    assert left == []


def test_it_has_a_session_of_its_own(up: tuple[Path, Running]) -> None:
    """So that it outlives the terminal."""
    _, now = up
    assert os.getsid(now.pid) == now.pid
    assert psutil.Process(now.pid).ppid() != os.getpid()


@pytest.mark.parametrize("options", [(), ("--detach",)])
def test_a_second_one_is_refused(up: tuple[Path, Running], options: tuple[str, ...]) -> None:
    root, now = up
    result = perdure(root, "up", *options)
    assert result.returncode == 4
    assert f"process {now.pid}" in result.stderr
    assert str(now.prefect_page) in result.stderr


def test_its_logs_can_be_read(up: tuple[Path, Running]) -> None:
    root, _ = up
    whole = json.loads(perdure(root, "logs", "--json", "--lines", "100").stdout)["logs"]
    found = {one["part"]: one["lines"] for one in whole}
    assert {"server", "mlflow", "deploy", "watcher", "worker", "up"} <= set(found)
    assert any("Watching" in line for line in found["watcher"])
    assert "Watching" in perdure(root, "logs", "watcher", "-n", "100").stdout
    assert perdure(root, "logs", "nobody").returncode == 2


def test_a_part_that_is_killed_is_back_at_the_same_address(up: tuple[Path, Running]) -> None:
    root, now = up
    (server,) = [one for one in now.parts if one.name == "server"]
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    from tests.service.up.conftest import eventually

    def back() -> bool:
        found = running.read(root / ".perdure")
        parts = {one.name: one for one in found.parts} if found else {}
        return bool(parts) and parts["server"].restarts == 1 and parts["server"].state == "running"

    eventually(back, 60)
    assert httpx.get(f"{now.prefect_api}/health").status_code == 200


def test_what_cannot_start_is_said_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = kit.make(tmp_path / "small")
    (tmp_path / "profiles.toml").write_text("PREFECT_API_URL = [broken")
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(tmp_path / "profiles.toml"))
    result = perdure(root, "up", "--detach")
    assert result.returncode == 2, result.stderr
    assert "Prefect's settings" in result.stderr
    assert "prefect config view" in result.stderr
    assert running.read(root / ".perdure") is None
    assert process_group.alive(process_group.of_folder(running.folder(root / ".perdure"))) == []
