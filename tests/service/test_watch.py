"""The watcher, as `perdure up` starts it, with a real server: new data always starts a run."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import FlowRun
from prefect.settings import temporary_settings

from perdure import config
from perdure.config import Workspace
from perdure.orchestration import names
from perdure.service import retraining, state
from perdure.service.arrivals import Arrivals, Waiting
from perdure.service.deploy import deploy
from perdure.tasks import locks
from tests.promises import kit

PATIENCE_S = 180.0
"""Until a test gives up; nothing is said about how fast it should be."""


@pytest.fixture(scope="module")
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:
    with (
        temporary_settings(updates={"api.url": prefect_server}),
        get_client(sync_client=True) as found,
    ):
        yield found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one pending experience, to be copied."""
    return kit.make(tmp_path_factory.mktemp("made") / "workspace")


@pytest.fixture
def workspace(client: SyncPrefectClient, made: Path, tmp_path: Path) -> Workspace:
    """The same under a name of its own, deployed."""
    root = tmp_path / "workspace"
    shutil.copytree(made, root, symlinks=True)
    text = (root / "perdure.toml").read_text()
    text = text.replace('name = "small"', f'name = "m{uuid4().hex[:8]}"', 1)
    (root / "perdure.toml").write_text(f"{text}[trigger]\ndebounce = 1\nmax_wait = 600\n")
    ws = config.read(root)
    deploy(ws)
    return ws


@pytest.fixture
def empty(workspace: Workspace) -> Workspace:
    """Nothing is pending."""
    shutil.rmtree(workspace.experiences)
    return workspace


class Watching:
    """The program in a process of its own."""

    def __init__(self, ws: Workspace, api: str) -> None:
        self.log = ws.root.parent / "watch.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "perdure.service.watch"],
                stdin=subprocess.PIPE,
                stderr=log,
                cwd=ws.root.parent,
                env={**os.environ, "PREFECT_API_URL": api, "PERDURE_WORKSPACE": str(ws.root)},
            )

    def times_logged(self, text: str) -> int:
        return self.log.read_text().count(text)

    def hear(self, text: str, times: int = 1) -> None:
        until(lambda: self.times_logged(text) >= times, lambda: self.log.read_text())

    def end(self) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()


@contextmanager
def watching(ws: Workspace, api: str) -> Iterator[Watching]:
    found = Watching(ws, api)
    try:
        found.hear("Watching")
        yield found
    finally:
        found.end()


def until(look: Callable[[], object], result: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < deadline, result()
        time.sleep(0.1)


def runs(client: SyncPrefectClient, ws: Workspace) -> list[FlowRun]:
    full = names.full("retrain", ws.config.model.name)
    chosen = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[client.read_deployment_by_name(full).id])
    )
    return client.read_flow_runs(flow_run_filter=chosen)


def drop(ws: Workspace, name: str, text: str = "a,b\n1,2\n") -> Path:
    ws.inbox.mkdir(exist_ok=True)
    path = ws.inbox / name
    path.write_text(text)
    return path


def test_a_file_in_the_inbox_starts_a_run(
    client: SyncPrefectClient, empty: Workspace, prefect_server: str
) -> None:
    shutil.rmtree(empty.inbox)  # it is made when the first file comes
    with watching(empty, prefect_server) as watcher:
        drop(empty, "a.csv")
        until(lambda: runs(client, empty), watcher.log.read_text)
        (run,) = runs(client, empty)
        assert run.parameters["inbox"] is True
        shutil.rmtree(empty.inbox)
        drop(empty, "b.csv")
        watcher.hear("1 new in the inbox.", 2)
        (empty.inbox / ".hidden.csv").write_text("1\n")
        drop(empty, "b.csv", "a,b\n1,2\n3,4\n")  # another content is new again
        watcher.hear("1 new in the inbox.", 3)
        os.kill(watcher.process.pid, signal.SIGTERM)
        assert watcher.process.wait(20) == 0


def test_two_watchers_start_one_run(
    client: SyncPrefectClient, empty: Workspace, prefect_server: str
) -> None:
    with watching(empty, prefect_server) as watcher, watching(empty, prefect_server):
        drop(empty, "a.csv")
        until(lambda: runs(client, empty), watcher.log.read_text)
        time.sleep(6)  # the other one looks too, and there is a run on its way already
        assert len(runs(client, empty)) == 1


def test_a_burst_is_told_of_once_or_twice_and_a_slow_writer_waited_for(
    client: SyncPrefectClient, empty: Workspace, prefect_server: str
) -> None:
    with watching(empty, prefect_server) as watcher:
        slow = (empty.inbox / "slow.csv").open("w")
        for number in range(1000):
            drop(empty, f"{number}.csv")
        watcher.hear("new in the inbox.")
        until(lambda: runs(client, empty), watcher.log.read_text)
        messages = [line for line in watcher.log.read_text().splitlines() if "new in the" in line]
        assert sum(int(line.split(" new in")[0].split()[-1]) for line in messages) == 1000
        assert len(messages) <= 3
        slow.close()  # which is no event of the file system
        watcher.hear("1 new in the inbox.")
        assert len(runs(client, empty)) <= 3


def test_an_experience_that_is_pending_is_learned(
    client: SyncPrefectClient, workspace: Workspace, prefect_server: str
) -> None:
    with watching(workspace, prefect_server) as watcher:
        until(lambda: runs(client, workspace), watcher.log.read_text)
    (run,) = runs(client, workspace)
    assert (run.parameters["inbox"], run.parameters["min_rows"]) == (True, 0)
    assert "1 pending" in watcher.log.read_text()


def test_a_paused_deployment_or_automation_is_respected(
    client: SyncPrefectClient, workspace: Workspace
) -> None:
    def found() -> tuple[bool, bool]:
        gathered, _ = state.gather(workspace, client, Waiting(), ({}, 0.0), 0.0)
        return gathered.deployed, gathered.paused

    assert found() == (True, False)
    full = names.full("retrain", workspace.config.model.name)
    deployment = client.read_deployment_by_name(full).id
    (automation,) = client.read_automations_by_name(names.data_arrived(workspace.config.model.name))
    client.pause_deployment(deployment)
    assert found() == (True, True)
    client.resume_deployment(deployment)
    client.request("PATCH", f"/automations/{automation.id}", json={"enabled": False})  # type: ignore[arg-type]  # Prefect wants one of its own paths, and fills in nothing here
    assert found() == (True, True)
    client.delete_automation(automation.id)
    assert found() == (True, False)
    client.delete_deployment(deployment)
    assert found() == (False, False)


def test_rows_are_read_where_they_matter_and_age_outlives_a_restart(workspace: Workspace) -> None:
    now = 0.0
    (id_,) = [path.stem for path in workspace.experiences.iterdir()]
    assert state.Pending(lambda: now).read(workspace)[0] == {id_: None}
    path = workspace.experiences / f"{id_}.parquet"
    os.utime(path, (time.time() + 1e6,) * 2)  # the clock was set back
    pending = state.Pending(lambda: now)
    assert pending.read(workspace)[1] == 0
    now = 50.0
    assert pending.read(workspace)[1] == 50
    os.utime(path, (time.time() - 1000,) * 2)
    assert state.Pending(lambda: now).read(workspace)[1] >= 999
    text = (workspace.root / "perdure.toml").read_text() + "min_rows = 10\n"
    (workspace.root / "perdure.toml").write_text(text)
    rows, _ = pending.read(config.read(workspace.root))
    assert rows == {id_: 120}


@contextmanager
def forwarding(port: int, api: str) -> Iterator[None]:
    """The server behind another port, for as long as this lasts."""
    target = ("127.0.0.1", int(api.split(":")[2].split("/")[0]))

    class Both(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            near: socket.socket = self.request
            with socket.create_connection(target) as far:
                other = {near: far, far: near}
                while True:
                    for one in select.select([near, far], [], [])[0]:
                        data = one.recv(65536)
                        if not data:
                            return
                        other[one].sendall(data)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", port), Both) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield
        server.shutdown()


def test_while_the_server_is_away_it_goes_on_and_says_so_once(
    client: SyncPrefectClient, empty: Workspace, prefect_server: str
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with watching(empty, f"http://127.0.0.1:{port}/api") as watcher:
        drop(empty, "a.csv")
        watcher.hear("Starting retrainings failed")
        time.sleep(4)  # it is tried again after 2 s
        assert watcher.times_logged("Starting retrainings failed") == 1
        assert watcher.times_logged("Traceback") == 0
        assert runs(client, empty) == []
        with forwarding(port, prefect_server):
            until(lambda: runs(client, empty), watcher.log.read_text)
            watcher.hear("Starting retrainings goes on.")


def test_a_broken_configuration_leaves_the_old_one(empty: Workspace, prefect_server: str) -> None:
    good = (empty.root / "perdure.toml").read_text()
    with watching(empty, prefect_server) as watcher:
        (empty.root / "perdure.toml").write_text(good + "debounce = 'soon'\n")
        watcher.hear("Going on with the configuration as it was before.")
        drop(empty, "a.csv")
        watcher.hear("1 new in the inbox.")
        changed = good.replace("[data]\n", '[data]\ninbox = "elsewhere/new"\n')
        (empty.root / "perdure.toml").write_text(changed)
        watcher.hear("has changed, and was read again.")
        (empty.root / "elsewhere" / "new").mkdir(parents=True)
        (empty.root / "elsewhere" / "new" / "b.csv").write_text("1\n")
        watcher.hear("1 new in the inbox.", 2)
        elsewhere = empty.root.parent / "far"
        elsewhere.mkdir()
        (elsewhere / "c.csv").write_text("1\n")
        (empty.root / "perdure.toml").write_text(
            f'{changed}folders = ["file://{elsewhere}"]\npoll = 1\n'
        )
        watcher.hear("c.csv came from")
        watcher.hear("1 new in the inbox.", 3)


def test_an_event_of_somebody_elses_has_the_folders_looked_at(
    client: SyncPrefectClient, empty: Workspace, tmp_path: Path, prefect_server: str
) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "0.csv").write_text("1\n")
    text = (empty.root / "perdure.toml").read_text()
    more = f'folders = ["file://{tmp_path / "far"}"]\npoll = 86400\n'
    (empty.root / "perdure.toml").write_text(text + more)
    resource = names.resource(empty.config.model.name)

    def brought() -> bool:
        event = {
            "event": "perdure.data.arrived",
            "id": str(uuid4()),
            "occurred": "2001-01-01T00:00:00Z",
            "resource": {"prefect.resource.id": resource},
        }
        client.request("POST", "/events", json=[event]).raise_for_status()
        time.sleep(1)
        return watcher.times_logged("a.csv came from") > 0

    with watching(empty, prefect_server) as watcher:
        watcher.hear("0.csv came from")  # now it looks again tomorrow
        (tmp_path / "far" / "a.csv").write_text("1\n")
        until(brought, watcher.log.read_text)
    assert (empty.inbox / "a.csv").exists()


def test_it_ends_with_its_parent(empty: Workspace, prefect_server: str) -> None:
    program = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-P', '-m', 'perdure.service.watch'],"
        " stdin=subprocess.PIPE)\nprint(child.pid, flush=True)\nsys.stdin.read()\n"
    )
    environment = {"PREFECT_API_URL": prefect_server, "PERDURE_WORKSPACE": str(empty.root)}
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment},
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    with parent.stdout, parent.stdin:
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()

    def gone() -> bool:
        try:
            os.kill(child, 0)
            status = Path(f"/proc/{child}/stat").read_text()
        except ProcessLookupError:
            return True
        except FileNotFoundError:  # not Linux, or this very moment
            return False
        return status.rpartition(")")[2].split()[0] == "Z"  # nobody asked yet how it ended

    until(gone)


def test_a_lost_event_of_the_file_system_does_not_matter(empty: Workspace) -> None:
    """Looked at by hand here: nobody listens, as on a network's file system."""
    now = 0.0
    woken: list[int] = []
    shutil.rmtree(empty.inbox)
    arrivals = Arrivals(
        lambda: empty, lambda: woken.append(len(arrivals.waiting.files)), clock=lambda: now
    )
    assert arrivals.look() == 5
    drop(empty, "a.csv")
    growing = (empty.inbox / "b.csv").open("w")
    assert arrivals.look() == 1
    assert arrivals.waiting == Waiting()
    now = 5.0
    arrivals.look()
    assert (woken, list(arrivals.waiting.files)) == ([1], [empty.inbox / "a.csv"])
    growing.close()
    arrivals.look()
    assert woken == [1, 2]
    assert len(arrivals.waiting.files) == 2
    for path in empty.inbox.iterdir():
        path.unlink()
    assert arrivals.look() == 5
    assert arrivals.waiting == Waiting()


def test_files_that_never_stop_coming_start_a_retraining_now_and_then(empty: Workspace) -> None:
    text = (empty.root / "perdure.toml").read_text()
    (empty.root / "perdure.toml").write_text(
        text.replace("debounce = 1\nmax_wait = 600", "debounce = 10\nmax_wait = 60")
    )
    ws = config.read(empty.root)
    now = 0.0
    woken: list[float] = []
    arrivals = Arrivals(lambda: ws, lambda: woken.append(now), clock=lambda: now)
    for second in range(200):
        now = float(second)
        drop(ws, f"{second}.csv")
        arrivals.look()
    assert woken == [60, 121, 182]  # each new one waits for max_wait
    now = 209.0
    arrivals.look()
    assert woken[-1] == 209  # nothing has come for debounce
    assert len(arrivals.waiting.files) == 200


def test_what_runs_elsewhere_do_not_see_is_ingested_here(workspace: Workspace) -> None:
    kit.arrive(workspace.root, "b.csv", kit.table(2))
    before = len(list(workspace.experiences.iterdir()))
    retraining.ingest(workspace, threading.Event())
    assert len(list(workspace.experiences.iterdir())) == before + 1
    assert [path.name for path in workspace.inbox.iterdir()] == [".gitkeep"]


def test_whether_somebody_works_on_the_model_is_told_without_asking_for_its_lock(
    workspace: Workspace,
) -> None:
    assert not locks.is_held(workspace, "model")
    with locks.hold(workspace, "model", "test"):
        assert locks.is_held(workspace, "model")
        assert not locks.is_held(workspace, "data")
        assert locks._is_noted(workspace.state / "locks" / "model.json")
    assert not locks.is_held(workspace, "model")
    assert not locks._is_noted(workspace.state / "locks" / "model.json")


def test_a_lock_of_another_file_with_the_same_number_is_not_ours(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locks.hold(workspace, "model", "test"):
        number = f":{(workspace.state / 'locks' / 'model.lock').stat().st_ino}"
        seen = [one.split() for one in locks.LOCKS.read_text().splitlines()]
        (own,) = {one[5] for one in seen if one[5].endswith(number) and one[4] == str(os.getpid())}
        monkeypatch.setattr(locks, "LOCKS", tmp_path / "locks")

        def is_held(pid: int, place: str) -> bool:
            text = f"1: POSIX  ADVISORY  READ 7 {own} 0 EOF\n"
            text += f"2: FLOCK  ADVISORY  WRITE {pid} {place} 0 EOF\n"
            (tmp_path / "locks").write_text(text)
            return locks.is_held(workspace, "model")

        assert is_held(os.getpid(), own)
        assert is_held(1, own)  # just taken, and not noted yet
        assert is_held(os.getpid(), f"ff:fe{number}")  # as on btrfs, which locks by another device
        assert not is_held(1, f"ff:fe{number}")


def test_a_note_of_a_process_that_had_the_same_number_is_nobodys(workspace: Workspace) -> None:
    note = workspace.state / "locks" / "model.json"
    with locks.hold(workspace, "model", "test"):
        output = json.loads(note.read_text())
        assert locks._is_noted(note)
        note.write_text(json.dumps({**output, "born": output["born"] - 3600}))
        assert not locks._is_noted(note)
        note.write_text(json.dumps({**output, "pid": None}))
        assert not locks._is_noted(note)
