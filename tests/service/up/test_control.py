"""`perdure down`, the record of what runs, and who finds it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import psutil
import pytest
from prefect.settings import temporary_settings

from perdure import running
from perdure.errors import Fault, UsageError
from perdure.orchestration import configured_server
from perdure.service import control, process_group
from tests.cli.conftest import Cli
from tests.cli.conftest import cli as cli  # the fixture
from tests.service.up import programs
from tests.service.up.conftest import Up, eventually


def test_down_ends_all_and_says_what_it_was(up: Up, cli: Cli) -> None:
    up.start({"name": "one", "command": programs.obedient()})
    now = up.ready()
    up.processes()
    result = cli("down", "-w", up.root, "--json")
    assert result.code == 0
    assert result.json["ended"]["pid"] == now.pid
    assert len(up.seen) == 3
    assert up.left() == []
    result = cli("down", "-w", up.root)
    assert (result.code, result.out) == (0, "Nothing of perdure up runs here.\n")


def test_down_ends_a_supervisor_that_hangs(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "WAIT_SECONDS", 1.0)
    up.start(
        {"name": "calm", "command": programs.obedient()},
        {"name": "stubborn", "command": programs.stubborn()},
    )
    up.ready()
    eventually(lambda: len(up.processes()) == 5)
    up.signal(signal.SIGSTOP)
    # This process is its parent, and must bury it before it is gone for `down`.
    threading.Thread(target=up.output).start()
    assert control.down(up.root) is not None
    assert up.left() == []


def test_down_ends_what_all_killed_at_once_has_left(up: Up) -> None:
    up.start({"name": "stubborn", "command": programs.stubborn()})
    up.ready()
    eventually(lambda: len(up.processes()) == 4)
    reaper = up.reaper()
    up.signal(signal.SIGSTOP)
    reaper.kill()
    assert up.process is not None
    up.process.kill()
    up.process.wait()
    assert control.down(up.root) is None
    assert up.left() == []


def test_only_what_is_still_there_is_said_to_be(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor has ended; a process of its parts hangs, as one does in the kernel."""
    up.start({"name": "one", "command": programs.obedient()})
    now = up.ready()
    threading.Thread(target=up.output).start()
    with subprocess.Popen(["sleep", "600"]) as hanging, monkeypatch.context() as patched:
        patched.setattr(process_group, "end", lambda *_: [psutil.Process(hanging.pid)])
        try:
            with pytest.raises(Fault, match="cannot be ended") as error:
                control.down(up.root)
        finally:
            hanging.kill()
    assert error.value.message.endswith(
        f"process {now.pid} and what it started cannot be ended; still there: {hanging.pid}"
    )


def test_a_record_that_names_somebody_else_s_process_ends_nobody(up: Up) -> None:
    """A number of a process means nothing: the lock is what tells."""
    foreign = os.getpid()
    up.start({"name": "one", "command": programs.obedient()})
    now = up.ready()
    path = running.folder(up.state) / "up.json"
    output = json.loads(path.read_text())
    path.write_text(json.dumps({**output, "pid": foreign}))
    with pytest.raises(Fault, match="there is none such here"):
        control.down(up.root)
    path.write_text(json.dumps({**output, "host": "elsewhere"}))
    with pytest.raises(UsageError, match="runs on elsewhere"):
        control.down(up.root)
    assert up.process is not None
    assert up.process.poll() is None
    assert now.pid == up.process.pid


def test_without_the_lock_the_record_means_nothing(up: Up) -> None:
    up.start({"name": "one", "command": programs.obedient()})
    now = up.ready()
    assert up.process is not None
    assert now.pid == up.process.pid
    up.signal(signal.SIGKILL)
    up.process.wait()
    assert (running.folder(up.state) / "up.json").exists()
    assert up.now() is None


def test_looking_does_not_hinder_taking(tmp_path: Path) -> None:
    """Whoever looks holds the lock for a moment."""
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            running.read(tmp_path)

    with running.hold(tmp_path):
        pass
    looking = [threading.Thread(target=look) for _ in range(2)]
    for one in looking:
        one.start()
    try:
        for _ in range(20):
            with running.hold(tmp_path):
                pass
    finally:
        stop.set()
        for one in looking:
            one.join()


def test_the_server_of_perdure_up_counts_where_the_user_has_configured_none(up: Up) -> None:
    assert configured_server.configured(up.root) is None
    up.start({"name": "one", "command": programs.obedient()})
    now = up.ready()
    assert configured_server.configured(up.root) == now.prefect_api == "http://127.0.0.1:9/api"
    assert configured_server.configured() is None
    with temporary_settings(updates={"api.url": "http://127.0.0.1:10/api"}):
        assert configured_server.configured(up.root) == "http://127.0.0.1:10/api"
    up.signal(signal.SIGTERM)
    up.output()
    assert configured_server.configured(up.root) is None
