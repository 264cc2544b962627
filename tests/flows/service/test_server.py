"""The server of `perdure up`: whole, persistent, and never in its own way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prefect.settings import temporary_settings

from perdure.flows.service import slots
from tests.flows.service.conftest import Server, until

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
    assert settings["concurrency"]["lease_storage"] == "perdure.flows.service.leases"
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
    program = [sys.executable, "-P", "-m", "perdure.flows.service.server"]
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


def test_killed_it_starts_again_with_everything_it_knew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "RENEW_S", 0.1)
    server = Server(tmp_path)
    server.start()
    try:
        with server.client() as client:
            client.create_flow_from_name("kept")
            client.request(
                "POST", "/v2/concurrency_limits/", json={"name": "one", "limit": 1, "active": True}
            ).raise_for_status()
        taken = httpx.post(
            f"{server.api}/v2/concurrency_limits/increment-with-lease",
            json={"names": ["one"], "slots": 1, "mode": "concurrency", "lease_duration": 60},
        )
        assert taken.status_code == 200, taken.text
        (lease,) = [p for p in (tmp_path / "leases").glob("*.json") if p.stem != "expirations"]
        port = server.port
        with temporary_settings(updates={"api.url": server.api}), slots.keep(UUID(lease.stem), 300):
            server.kill()
            before = _expires(lease)
            # In the midst of a change, and its process id is somebody else's by now.
            lock, *scraps = (
                lease.with_name(name) for name in ("expirations.lock", ".lock_1", ".lease_2.tmp")
            )
            for path in (lock, *scraps):
                path.write_text(str(os.getpid()))
            server.start()
            # Whoever has a slot keeps it, and was not disturbed.
            until(lambda: _expires(lease) > before)
            assert not any(path.exists() for path in scraps)
        assert server.port == port
        with server.client() as client:
            assert client.read_flow_by_name("kept").name == "kept"
        assert _slots(server) == 1
        # Its holder is gone: once the lease has run out, the slot is free again. A server that
        # runs goes by a clock of its own.
        server.kill()
        for path in (lease, lease.with_name("expirations.json")):
            told = json.loads(path.read_text())
            key = "expiration" if path == lease else lease.stem
            path.write_text(json.dumps({**told, key: "2026-01-01T00:00:00+00:00"}))
        server.start()
        until(lambda: _slots(server) == 0)
    finally:
        server.stop()  # as the end of its parent does: its standard input ends
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.api}/health")


def _expires(lease: Path) -> str:
    found = json.loads(lease.read_text())["expiration"]
    assert isinstance(found, str)
    return found


def _slots(server: Server) -> int:
    found = httpx.get(f"{server.api}/v2/concurrency_limits/one").json()["active_slots"]
    assert isinstance(found, int)
    return found
