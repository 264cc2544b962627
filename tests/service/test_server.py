"""The server of `perdure up`: whole, persistent, and never in its own way."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.service.conftest import Server

CLIENT = """
import asyncio, sys
from datetime import datetime, timezone
from uuid import uuid4
from prefect.client.orchestration import get_client
from prefect import flow, task

@task
def step(n):
    return n

@flow(name="load")
def load(n):
    return [step(one) for one in range(n)]

async def many():
    async with get_client(httpx_settings={"timeout": 60}) as client:
        async def one(number):
            flow_id = await client.create_flow_from_name(f"flow {sys.argv[1]} {number}")
            await client.read_flow(flow_id)
            await client.read_work_queues()
            event = {"event": "test.load", "id": str(uuid4()), "payload": {},
                     "resource": {"prefect.resource.id": "test"},
                     "occurred": datetime.now(timezone.utc).isoformat()}
            answer = await client._client.post("/events", json=[event])
            assert answer.status_code == 204
        for start in range(0, 30, 10):
            await asyncio.gather(*(one(start + n) for n in range(10)))

load(5)
asyncio.run(many())
"""


def test_it_serves_prefects_pages_and_api_on_loopback(server: Server) -> None:
    origin = server.api.removesuffix("/api")
    assert server.api == f"http://127.0.0.1:{server.port}/api"
    assert httpx.get(f"{server.api}/health").json() is True
    page = httpx.get(origin, headers={"Accept": "text/html"}, follow_redirects=True)
    assert page.status_code == 200
    assert "<html" in page.text
    assert httpx.get(f"{origin}/ui-settings").json()["api_url"] == server.api
    settings = httpx.get(f"{server.api}/admin/settings").json()["server"]
    assert settings["analytics_enabled"] is False
    services = settings["services"]
    for name in ("scheduler", "late_runs", "triggers", "repossessor", "event_persister", "foreman"):
        assert services[name]["enabled"] is True, name


def test_many_at_once_never_meet_a_lock(server: Server, tmp_path: Path) -> None:
    program = tmp_path / "client.py"
    program.write_text(CLIENT)
    environment = {**os.environ, "PREFECT_API_URL": server.api, "PREFECT_CLIENT_MAX_RETRIES": "0"}

    def run(number: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(program), str(number)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(run, range(4)))
    assert len(done) == 4
    for one in done:
        assert one.returncode == 0, one.stderr
    with server.client() as client:
        names = {flow.name for page in range(5) for flow in client.read_flows(offset=200 * page)}
        load = client.read_flow_by_name("load").id
        runs = [run for run in client.read_flow_runs() if run.flow_id == load]
    assert {f"flow {p} {n}" for p in range(4) for n in range(30)} <= names
    assert [run.state_name for run in runs] == ["Completed"] * 4
    assert "database is locked" not in server.log.read_text()


def test_a_port_that_is_taken_is_said(server: Server, tmp_path: Path) -> None:
    program = [sys.executable, "-P", "-m", "perdure.service.server"]
    done = subprocess.run(
        [*program, str(tmp_path / "prefect.db"), str(server.port)],
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert done.stdout == ""
    assert f"cannot have port {server.port} of 127.0.0.1" in done.stderr


def test_killed_it_starts_again_with_everything_it_knew(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        with server.client() as client:
            client.create_flow_from_name("kept")
        port = server.port
        server.kill()
        server.start()
        assert server.port == port
        with server.client() as client:
            assert client.read_flow_by_name("kept").name == "kept"
    finally:
        server.stop()  # as the end of its parent does: its standard input ends
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.api}/health")
