"""Two machines that share MLflow's and Prefect's servers: one of them sends each notice.

Two workspaces stand for two machines: they share nothing on the disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.service.notify.dispatch import send_pending
from perdure.tasks.registry import Registry
from tests.service.conftest import Server
from tests.service.notify.kit import promote, received, to, workspace
from tests.service.notify.receivers import http_receiver, nobody
from tests.tasks.server_kit import Server as MlflowServer
from tests.tasks.version_kit import bare_versions


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    try:
        server.wait()
        yield server.uri
    finally:
        server.stop()


def test_each_promotion_is_sent_by_the_machine_that_looks_first(
    mlflow: str, tmp_path: Path
) -> None:
    with http_receiver() as box:
        one = workspace(tmp_path / "one", to(box), uri=mlflow)
        two = workspace(tmp_path / "two", to(box), uri=mlflow)
        registry = Registry(one)
        bare_versions(registry, 4, "s3://nowhere/at/all")
        promote(registry, 4)
        assert send_pending(one) == 0
        promote(registry, 1)
        assert (send_pending(one), send_pending(two)) == (1, 0)
        promote(registry, 2)
        assert (send_pending(two), send_pending(one)) == (1, 0)
        three = workspace(tmp_path / "three", to(box), uri=mlflow)
        promote(registry, 3)
        # One that has never looked goes on from where the others are.
        assert (send_pending(three), send_pending(one), send_pending(two)) == (1, 0, 0)
        assert received(box) == [("promoted", 1), ("promoted", 2), ("promoted", 3)]


def crash(server: Server, model: str) -> str:
    from prefect import flow
    from prefect.states import Crashed

    @flow(name="retrain")
    def stand_in() -> None: ...

    with server.client() as client:
        run = client.create_flow_run(stand_in, tags=["perdure", f"perdure:{model}"])
        client.set_flow_run_state(run.id, Crashed(message=f"gone {run.id}"), force=True)
        return str(run.id)


def test_a_crash_is_sent_by_the_machine_that_looks_first(
    configured: Server, tmp_path: Path
) -> None:
    with http_receiver() as box:
        one, two = (workspace(tmp_path / n, to(box), model="one-of-two") for n in ("one", "two"))
        send_pending(one)
        send_pending(two)
        runs = [crash(configured, "one-of-two")]
        assert send_pending(one) == 2  # a message, and an event
        assert send_pending(two) == 0
        runs.append(crash(configured, "one-of-two"))
        assert send_pending(two) == 2
        assert send_pending(one) == 0
        assert [post["reason"].removeprefix("gone ") for post in box.posts] == runs


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
