"""Locks: one holder, the loser is told who, and death frees them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from perdure.config import Workspace, parse
from perdure.errors import LockHeld
from perdure.tasks.locks import hold

CONFIG = '[model]\nname="m"\n[data]\ntarget="y"\ntask="classification"'
HOLDER = """
import sys
from pathlib import Path
from perdure.config import Workspace, parse
from perdure.tasks.locks import hold
with hold(Workspace(Path(sys.argv[1]), parse(sys.argv[2])), "model", "a long retraining"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, parse(CONFIG))


def holder(ws: Workspace) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(ws.root), CONFIG],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_loser_is_told_who_holds_it_and_death_frees_it(ws: Workspace) -> None:
    with holder(ws) as process:
        with pytest.raises(LockHeld) as error, hold(ws, "model", "rollback"):
            pytest.fail("two hold the lock")
        assert error.value.exit_code == 4
        assert f"process {process.pid} on " in error.value.message
        assert "for a long retraining" in error.value.message
        with hold(ws, "data", "ingest"):
            pass  # another name is another lock
        process.send_signal(signal.SIGKILL)
        process.wait()
        with hold(ws, "model", "rollback"):
            pass


def test_other_users_cannot_look_into_the_state(ws: Workspace) -> None:
    ws.state.mkdir(mode=0o755)  # as an older Perdure made it
    ws.state.chmod(0o755)
    with hold(ws, "data", "an ingest"):
        assert stat.S_IMODE(ws.state.stat().st_mode) == 0o750


def test_waiting_for_it(ws: Workspace) -> None:
    with holder(ws) as process:
        assert process.stdin is not None
        timer = threading.Timer(0.3, process.stdin.close)
        timer.start()
        with hold(ws, "model", "rollback", wait_s=30.0):
            pass
        timer.join()


def test_it_is_not_reentrant(ws: Workspace) -> None:
    with hold(ws, "model", "retrain"):
        with pytest.raises(LockHeld, match=rf"process {os.getpid()} \(this one\)"):
            hold(ws, "model", "again").__enter__()
        with pytest.raises(LockHeld), hold(ws, "model", "still held after the loser left"):
            pytest.fail("the loser freed the lock")
    with hold(ws, "model", "afterwards"):
        pass


def test_an_error_inside_frees_it(ws: Workspace) -> None:
    with pytest.raises(ZeroDivisionError), hold(ws, "model", "retrain"):
        _ = 1 / 0
    with hold(ws, "model", "retrain"):
        pass


def test_what_is_left_on_the_disk_means_nothing(ws: Workspace) -> None:
    folder = ws.state / "locks"
    folder.mkdir(parents=True)
    (folder / "model.lock").write_text("someone")
    (folder / "model.json").write_text('{"pid": 1}')
    with hold(ws, "model", "retrain"):
        (folder / "model.json").write_text("not JSON")
        with pytest.raises(LockHeld, match="by another process"), hold(ws, "model", "x"):
            pytest.fail("two hold the lock")
