"""What is ingested on one machine is learned, whether or not an event told of it."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
from prefect import flow

from perdure import config
from perdure.config import Workspace
from perdure.errors import Unreachable
from perdure.flows import ingest
from perdure.orchestration import engine, events, names
from perdure.service.arrivals import Arrivals
from perdure.service.deploy import deploy
from perdure.service.remote import ASK_S, Remote
from perdure.service.retraining import Retraining
from tests.service.clones import Clones
from tests.service.conftest import Server, until


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Clones:
    return Clones(tmp_path_factory.mktemp("made") / "shared")


@pytest.fixture
def both(made: Clones, tmp_path: Path) -> Clones:
    return made.copy(tmp_path / "shared")


def named(both: Clones, clone: str, model: str, trigger: str) -> Workspace:
    """A clone's workspace under a model's name of its own."""
    file = both.root(clone) / "perdure.toml"
    text = file.read_text().replace('name = "small"', f'name = "{model}"', 1)
    file.write_text(f"{text}\n[trigger]\n{trigger}\n")
    return config.read(both.root(clone))


def tagged(server: Server, ws: Workspace) -> int:
    """How many events have said that data arrived."""
    with server.client() as client:
        resource = names.resource(ws.config.model.name)
        return events.heard(client, "perdure.data.arrived", resource)[0]


def runs(server: Server, ws: Workspace) -> int:
    with server.client() as client:
        full = names.full("retrain", ws.config.model.name)
        deployment = client.read_deployment_by_name(full).id
        return sum(run.deployment_id == deployment for run in client.read_flow_runs())


def test_an_ingest_by_hand_starts_a_retraining(configured: Server, both: Clones) -> None:
    ws = named(both, "a", "by-hand", "debounce = 0")
    deploy(ws)
    both.arrive("a", 2)
    assert ingest.run(str(ws.root), []).files[0].outcome == "ingested"
    until(lambda: tagged(configured, ws) == 1)
    until(lambda: runs(configured, ws) == 1)
    both.arrive("a", 2)
    assert ingest.run(str(ws.root), []).files[0].outcome == "known"
    both.arrive("a", 3)

    @flow(name="retrain")
    def stands_for_retrain() -> None:
        engine.run(ingest.ingest, workspace=str(ws.root), settled=False)

    stands_for_retrain()  # which learns next
    assert both.sources("a") == ["a-first.csv", "2.csv", "3.csv"]
    both.arrive("a", 4)
    ingest.run(str(ws.root), [])
    until(lambda: tagged(configured, ws) > 1)
    assert tagged(configured, ws) == 2  # events are taken in their order


def test_where_there_is_no_prefect_nobody_is_told(
    both: Clones, caplog: pytest.LogCaptureFixture
) -> None:
    both.arrive("a", 2)
    with caplog.at_level(logging.WARNING):
        assert ingest.run(str(both.root("a")), []).files[0].outcome == "ingested"
    assert caplog.records == []


def test_the_remote_tells_what_is_not_here(both: Clones) -> None:
    now = 0.0
    ws = both.ws("b")
    remote = Remote(lambda: ws, clock=lambda: now)
    assert remote.look() == ASK_S <= 60
    assert remote.behind() == (None, 0.0)
    both.ingest("a", 2)
    assert remote.behind() == (None, 0.0)  # nobody has asked
    now = 60.0
    remote.look()
    now = 90.0
    remote.look()
    assert remote.behind() == (both.head("a"), 30.0)
    ingest.ingest.fn(str(ws.root))  # brings it
    assert remote.behind() == (None, 0.0)
    append(ws.root / "perdure.toml", "\n[trigger]\nmin_rows = 100\nmax_wait = 600\n")
    ws = config.read(ws.root)
    both.ingest("a", 3)
    remote.look()
    now = 689.0
    assert remote.behind() == (None, 0.0)  # perhaps few rows
    now = 690.0
    assert remote.behind() == (both.head("a"), 600.0)
    both.bare.rename(both.folder / "gone")
    with pytest.raises(Unreachable, match="origin does not answer"):
        remote.look()


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_what_was_ingested_elsewhere_is_learned_though_no_event_came(
    configured: Server, both: Clones
) -> None:
    ws = named(both, "b", "elsewhere", "debounce = 0")
    deploy(ws)
    remote = Remote(lambda: ws)
    arrivals = Arrivals(lambda: ws, lambda: None)
    retraining = Retraining(lambda: ws, arrivals, remote, threading.Event())
    remote.look()
    retraining.look()
    assert runs(configured, ws) == 0
    both.ingest("a", 2)
    remote.look()
    retraining.look()
    assert runs(configured, ws) == 1
    retraining.look()
    assert runs(configured, ws) == 1
