"""The lock of a model, over a real Prefect server: one holder at a time, on all machines."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import temporary_settings

from perdure.config import Workspace, parse
from perdure.errors import LockHeld
from perdure.flows import release
from perdure.flows.promote import promote
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from perdure.orchestration import model_lock, model_slot
from perdure.tasks import locks

NOBODY = "http://127.0.0.1:9"
"""An MLflow server that nobody asks: the lock comes first."""


@pytest.fixture
def api(prefect_server: str) -> Iterator[str]:
    with temporary_settings(updates={"api.url": prefect_server}):
        yield prefect_server


def text(model: str, uri: str | None) -> str:
    tracking = f'[tracking]\nuri = "{uri}"\n' if uri else ""
    return f'[model]\nname = "{model}"\n[data]\ntarget = "y"\ntask = "classification"\n{tracking}'


def machine(folder: Path, model: str, uri: str | None = NOBODY) -> Workspace:
    """A clone of the workspace, as another machine has one."""
    folder.mkdir()
    (folder / "perdure.toml").write_text(text(model, uri), encoding="utf-8")
    return Workspace(folder, parse(text(model, uri)))


@contextmanager
def elsewhere(ws: Workspace, api: str) -> Iterator[subprocess.Popen[str]]:
    """A real process that holds the lock until it reads a line."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from perdure import config\n"
        "from perdure.orchestration import model_lock\n"
        "with model_lock.hold(config.read(Path(sys.argv[1])), 'a long retraining'):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(ws.root)],
        env={**os.environ, "PREFECT_API_URL": api, "PERDURE_USER": "ada"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def slots(model: str) -> int:
    with get_client(sync_client=True) as client:
        limit = client.read_global_concurrency_limit_by_name(model_slot.name_of(model))
    return limit.active_slots


def beat(model: str) -> int:
    with get_client(sync_client=True) as client:
        found = client.read_variable_by_name(model_slot.name_of(model))
    assert found is not None
    assert isinstance(found.value, dict)
    return int(found.value["beat"])


def test_who_holds_it_on_another_machine_is_told(api: str, tmp_path: Path) -> None:
    """Every command that moves anything asks for it, before it looks at the registry."""
    here, there = machine(tmp_path / "here", "two"), machine(tmp_path / "there", "two")
    with elsewhere(there, api) as process:
        for call in (
            lambda: retrain.fn(str(here.root)),
            lambda: promote.fn(str(here.root), version=1),
            lambda: rollback.fn(str(here.root)),
            lambda: release.release(str(here.root), ["000001-aaaaaaaa"]),
            lambda: release.quarantine(str(here.root), ["000001-aaaaaaaa"], "x"),
        ):
            with pytest.raises(LockHeld, match="for a long retraining") as error:
                call()
            assert f"by ada, process {process.pid} on" in error.value.message
            assert error.value.exit_code == 4
        process.communicate("go on\n", timeout=60)
        assert process.returncode == 0
    with model_lock.hold(here, "a test"):
        assert slots("two") == 1
    assert slots("two") == 0


def test_who_waits_gets_it_when_it_is_free(api: str, tmp_path: Path) -> None:
    here, there = machine(tmp_path / "here", "three"), machine(tmp_path / "there", "three")
    with elsewhere(there, api) as process:
        with pytest.raises(LockHeld), model_lock.hold(here, "a test", wait_s=0.1):
            pass
        soon = threading.Timer(0.5, process.communicate, ("go on\n",))
        soon.start()
        with model_lock.hold(here, "a test", wait_s=60):
            assert slots("three") == 1
        soon.join()
    assert slots("three") == 0


def test_a_registry_of_this_machine_alone_needs_no_prefect(api: str, tmp_path: Path) -> None:
    here = machine(tmp_path / "here", "alone", None)
    with model_lock.hold(here, "a test"), get_client(sync_client=True) as client:
        limits = client.read_global_concurrency_limits()
    assert model_slot.name_of("alone") not in [limit.name for limit in limits]
    assert not model_lock.is_shared(here)
    shared = ("https://mlflow.example", "postgresql+psycopg2://u:p@db/x", "databricks://profile")
    for number, uri in enumerate(shared):
        assert model_lock.is_shared(machine(tmp_path / str(number), "m", uri))


def test_clones_that_share_a_sqlite_file_take_turns(tmp_path: Path) -> None:
    """Each has its own lock; the one beside the file is everybody's, for each model."""
    uri = f"sqlite:///{tmp_path / 'registry' / 'mlflow.db'}"
    one, two = (machine(tmp_path / name, "both", uri) for name in ("one", "two"))
    other = machine(tmp_path / "other", "another", uri)
    with model_lock.hold(one, "a retraining"):
        with (
            pytest.raises(LockHeld, match=r"the model both in .*mlflow\.db is held .* for a retr"),
            model_lock.hold(two, "rollback"),
        ):
            pass
        with model_lock.hold(other, "rollback"):
            pass
    with model_lock.hold(two, "rollback"):
        pass
    assert [path.suffix for path in (tmp_path / "registry").iterdir()] == [".lock"] * 2


def test_a_rollback_needs_no_prefect(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    here = machine(tmp_path / "here", "down")
    caplog.set_level(logging.INFO, "perdure")
    nobody = temporary_settings(updates={"api.url": "http://127.0.0.1:9/api"})
    with nobody, model_lock.hold(here, "rollback"):
        assert "the model is locked on this machine alone" in caplog.text
        with pytest.raises(LockHeld, match="for rollback"), model_lock.hold(here, "retrain"):
            pass


def test_a_server_that_goes_down_meanwhile_stops_nothing(
    api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = machine(tmp_path / "here", "meanwhile")
    monkeypatch.setattr(model_slot, "RENEW_SECONDS", 0.1)
    slot = model_slot.Slot(api, here, "a test")
    slot.take()
    with slot.renewed():
        slot.url = "http://127.0.0.1:9/api"
        time.sleep(0.5)
        slot.url = api
        eventually(lambda: beat("meanwhile") > 2)
    slot.give_back()
    assert slots("meanwhile") == 0


def test_a_lost_loan_is_taken_again(
    api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when Prefect was away for longer than the loan."""
    here = machine(tmp_path / "here", "lost")
    monkeypatch.setattr(model_slot, "RENEW_SECONDS", 0.1)
    slot = model_slot.Slot(api, here, "a test")
    slot.take()
    first = slot.lease
    assert first is not None
    with slot.renewed():
        with get_client(sync_client=True) as client:
            client.release_concurrency_slots_with_lease(first)
        eventually(lambda: slot.lease not in (None, first))
        assert slots("lost") == 1
    slot.give_back()
    assert slots("lost") == 0


def test_what_the_dead_held_is_taken_over_once(
    api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, and Prefect keeps the slot, as when it forgets its loans: not for ever.

    And by one alone, of many who notice at once.
    """
    there = machine(tmp_path / "there", "dead")
    with elsewhere(there, api) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert slots("dead") == 1
    machines = [machine(tmp_path / str(number), "dead") for number in range(4)]
    for ws in machines:
        with pytest.raises(LockHeld, match="by ada"), model_lock.hold(ws, "a test"):
            pass
    monkeypatch.setattr(model_slot, "STALE_SECONDS", 0.01)
    time.sleep(0.05)
    start, end = threading.Barrier(4), threading.Barrier(4)
    won: list[Path] = []
    errors: list[Exception] = []

    def run(ws: Workspace) -> None:
        slot = model_slot.Slot(api, ws, f"wish of {ws.root.name}")
        start.wait(60)
        try:
            slot.take()
            won.append(ws.root)
        except Exception as error:  # noqa: BLE001 - looked at below
            errors.append(error)
        end.wait(60)
        slot.give_back()

    threads = [threading.Thread(target=run, args=(ws,)) for ws in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(won) == 1
    assert [type(error) for error in errors] == [LockHeld] * 3
    assert slots("dead") == 0


def test_a_living_holder_keeps_it(
    api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the one above: a sign of life in between, and nobody takes it over."""
    here, there = machine(tmp_path / "here", "lives"), machine(tmp_path / "there", "lives")
    monkeypatch.setattr(model_slot, "RENEW_SECONDS", 0.1)
    (there.state / "locks").mkdir(parents=True)
    with model_lock.hold(here, "a test"):
        slot = model_slot.Slot(api, there, "a wish")
        for _ in range(3):
            with monkeypatch.context() as patch:
                patch.setattr(model_slot, "STALE_SECONDS", 0.001)
                with pytest.raises(LockHeld):
                    slot.take()
            now = beat("lives")  # at least the one that was noted just now
            eventually(lambda seen=now: beat("lives") > seen)  # type: ignore[misc]  # a default


def test_the_machines_own_lock_comes_first(api: str, tmp_path: Path) -> None:
    here = machine(tmp_path / "here", "own")
    other = locks.hold(here, "model", "something else")
    wish = model_lock.hold(here, "a test")
    with other, pytest.raises(LockHeld, match="for something else"), wish:
        pass
