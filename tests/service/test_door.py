"""The Prefect server of `perdure up` lets in who has its secret, and no web page of others."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import temporary_settings

from perdure import running, server_secret
from perdure.orchestration import events
from perdure.service.deploy import deploy
from tests.service.conftest import MakeWorkspace, Server, until


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    state = tmp_path_factory.mktemp("workspace") / ".perdure"
    secret = server_secret.make(state)
    started = Server(running.folder(state), {"PREFECT_SERVER_API_AUTH_STRING": secret})
    started.start()
    yield started
    started.stop()


def state(server: Server) -> Path:
    return server.folder.parent


def basic(server: Server) -> dict[str, str]:
    secret = server_secret.read(state(server)) or ""
    return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}


def test_the_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    assert server_secret.read(tmp_path) is None
    made = server_secret.make(tmp_path)
    assert server_secret.make(tmp_path) == made == server_secret.read(tmp_path)
    assert len(made) > 40
    assert server_secret.place(tmp_path).stat().st_mode & 0o777 == 0o600
    assert [one.name for one in server_secret.place(tmp_path).parent.iterdir()] == [
        "prefect.secret"
    ]


def test_who_lacks_the_secret_starts_no_run(guarded: Server, server: Server) -> None:
    body = {"name": "a"}
    assert httpx.post(f"{guarded.api}/flows/", json=body).status_code == 401
    wrong = {"Authorization": "Basic " + base64.b64encode(b"perdure:guess").decode()}
    assert httpx.post(f"{guarded.api}/flows/", json=body, headers=wrong).status_code == 401
    mine = httpx.post(f"{guarded.api}/flows/", json=body, headers=basic(guarded))
    assert mine.status_code == 201
    # The control: a server without a secret takes it from anybody.
    assert httpx.post(f"{server.api}/flows/", json=body).status_code in (200, 201)
    # Whether it is there is asked without a secret.
    assert httpx.get(f"{guarded.api}/health").status_code == 200


def test_a_page_of_another_server_is_not_let_in(guarded: Server) -> None:
    elsewhere = {"Origin": "https://example.com", **basic(guarded)}
    answer = httpx.get(f"{guarded.api}/version", headers=elsewhere)
    assert "access-control-allow-origin" not in answer.headers
    own = {"Origin": guarded.api.removesuffix("/api"), **basic(guarded)}
    answer = httpx.get(f"{guarded.api}/version", headers=own)
    assert answer.headers["access-control-allow-origin"] == own["Origin"]
    # A name of somebody else's that leads here, as in DNS rebinding.
    renamed = {"Host": "example.com", **basic(guarded)}
    assert httpx.get(f"{guarded.api}/version", headers=renamed).status_code == 400


def test_its_own_services_and_our_clients_are_let_in(
    guarded: Server, make_workspace: MakeWorkspace
) -> None:
    """An event starts a run: through our client, the server's triggers and its own client."""
    ws = make_workspace("guarded")
    secret = server_secret.read(state(guarded))
    with temporary_settings(updates={"api.url": guarded.api, "api.auth_string": secret}):
        deploy(ws)
        assert events.emit("perdure.data.arrived", ws, {"files": 1})
        with get_client(sync_client=True) as client:
            until(lambda: len(client.read_flow_runs()) == 1)
    with temporary_settings(updates={"api.url": guarded.api}):
        assert not events.emit("perdure.data.arrived", ws, {"files": 1})


def test_a_ticket_lets_one_browser_in_once(guarded: Server) -> None:
    pages = guarded.api.removesuffix("/api")
    ticket = server_secret.ticket(state(guarded))
    first = httpx.get(f"{pages}/perdure/open/{ticket}")
    assert first.status_code == 200
    assert basic(guarded)["Authorization"].removeprefix("Basic ") in first.text
    for name in (ticket, "guess", "..%2fprefect.secret"):
        answer = httpx.get(f"{pages}/perdure/open/{name}")
        assert basic(guarded)["Authorization"].removeprefix("Basic ") not in answer.text
    assert httpx.get(f"{pages}/perdure/open/{ticket}").status_code == 410


def test_a_ticket_that_is_old_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server_secret.make(tmp_path)
    ticket = server_secret.ticket(tmp_path)
    monkeypatch.setattr(server_secret, "TICKET_S", -1.0)
    assert not server_secret.punch(running.folder(tmp_path), ticket)
    assert list(running.folder(tmp_path).glob("ticket-*")) == []
