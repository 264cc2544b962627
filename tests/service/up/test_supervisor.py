"""The supervisor keeps its parts going, and ends them: all of them, and no others."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from perdure import blocked, running
from perdure.service import ports, process_group
from tests.service.up import programs
from tests.service.up.conftest import Up, closed_port, eventually

STOP_S = 10.0


def test_a_part_that_dies_is_started_again_after_a_growing_pause(up: Up) -> None:
    up.start(
        {"name": "calm", "command": programs.obedient()},
        {"name": "poor", "command": programs.command("import time; time.sleep(0.1)")},
        {"name": "killed", "command": programs.obedient()},
    )
    first = {one.name: one.pid for one in up.ready().parts}
    os.kill(first["killed"] or 0, signal.SIGKILL)
    eventually(lambda: up.log("poor").count("started as process") >= 5)
    pauses = [float(s) for s in re.findall(r"started again in ([0-9.]+) s", up.log("poor"))]
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    now = up.now()
    assert now is not None
    parts = {one.name: one for one in now.parts}
    assert (parts["calm"].pid, parts["calm"].restarts) == (first["calm"], 0)
    assert parts["poor"].restarts >= 4
    assert parts["killed"].restarts == 1
    assert parts["killed"].pid not in (None, first["killed"])
    assert "was killed by signal 9" in up.log("killed")
    up.signal(signal.SIGTERM)
    assert "poor ended with exit code 0; again in 0.1 s → perdure logs poor" in up.output()


def test_a_part_that_waits_for_what_this_machine_lacks_ends_nothing_and_is_shown(up: Up) -> None:
    lacks = f"""
import pathlib, time
print("{blocked.WAITS}GPU 0 is taken", flush=True)
print("{blocked.WAITS}no room", flush=True)
for name in ("one", "both"):
    while not pathlib.Path(name).exists(): time.sleep(0.05)
    print("{blocked.OVER}" + ("no room" if name == "one" else "GPU 0 is taken"), flush=True)
"""
    worker = programs.command(lacks, programs.SLEEP)
    up.start(
        {"name": "calm", "command": programs.obedient()},
        {"name": "worker-gpu", "command": worker, "says": "started!"},
    )

    def waits() -> str | None:
        now = up.now()
        assert now is not None
        return {one.name: one.waits for one in now.parts}["worker-gpu"]

    up.ready()
    eventually(lambda: waits() == "GPU 0 is taken; no room")
    (up.root / "one").touch()
    eventually(lambda: waits() == "GPU 0 is taken")
    (up.root / "both").touch()
    eventually(lambda: waits() is None)
    up.signal(signal.SIGTERM)
    assert "worker-gpu waits: GPU 0 is taken; no room" in up.output()


@pytest.mark.parametrize("session", [True, False])
def test_what_a_dead_part_had_started_does_not_go_on(up: Up, session: bool) -> None:
    """Though it has its parent's output, and ends at SIGKILL alone."""
    up.start({"name": "one", "command": programs.with_child(session=session)})
    (part,) = up.ready().parts
    assert part.pid is not None
    (child,) = eventually(psutil.Process(part.pid).children)
    os.kill(part.pid, signal.SIGKILL)
    eventually(lambda: not process_group.lives(child))
    eventually(lambda: up.log("one").count("started as process") == 2)
    assert up.process is not None
    assert up.process.poll() is None


def test_under_nohup_the_end_of_the_terminal_ends_nothing(up: Up) -> None:
    up.start({"name": "calm", "command": programs.obedient()}, nohup=True)
    (part,) = up.ready().parts
    assert part.pid is not None
    up.signal(signal.SIGHUP)
    os.kill(part.pid, signal.SIGKILL)  # it goes on doing its work
    eventually(lambda: up.log("calm").count("started as process") == 2)
    up.signal(signal.SIGTERM)
    eventually(lambda: not up.left())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_its_end_is_the_end_of_all_and_of_no_other(up: Up, number: signal.Signals) -> None:
    """However it ends, and though some parts ignore every signal."""
    port = closed_port()
    foreign = subprocess.Popen(programs.command(programs.SLEEP))
    try:
        up.start(
            {
                "name": "server",
                "command": programs.served(port),
                "address": f"http://127.0.0.1:{port}/",
            },
            {"name": "calm", "command": programs.obedient(), "needs": ["server"]},
            {"name": "stubborn", "command": programs.stubborn(), "needs": ["server"]},
            {"name": "parent", "command": programs.with_child(session=True)},
        )
        up.ready()
        # supervisor, reaper, four parts, two children
        eventually(lambda: len(up.processes()) == 8)
        up.signal(number)
        eventually(lambda: not up.left(), STOP_S)
        result = up.output()
        assert up.process is not None
        assert up.process.returncode == (-9 if number == signal.SIGKILL else 0), result
        assert len(up.seen) == 8
        assert foreign.poll() is None
        assert up.now() is None
    finally:
        foreign.kill()
        foreign.wait()


def test_without_the_mark_a_killed_supervisor_would_leave_them(up: Up) -> None:
    """The control of the test before: a process without the mark is left alone."""
    word = "a test's child without an environment"

    def is_lost(one: psutil.Process) -> bool:
        with suppress(psutil.Error):
            return word in " ".join(one.cmdline()) and not one.environ()
        return False

    unmarked = programs.CHILD.replace("start_new_session", "env={{}}, start_new_session").format(
        program=f"# {word}\n{programs.STUBBORN}{programs.SLEEP}", session=True
    )
    up.start({"name": "one", "command": programs.command(unmarked, "import os; os._exit(0)")})
    (lost,) = eventually(lambda: [one for one in psutil.process_iter() if is_lost(one)])
    up.signal(signal.SIGKILL)
    eventually(lambda: not up.left())
    assert process_group.lives(lost)
    lost.kill()


def test_a_reaper_that_is_killed_is_replaced(up: Up) -> None:
    up.start({"name": "stubborn", "command": programs.stubborn()})
    up.ready()
    eventually(lambda: len(up.processes()) == 4)
    first = up.reaper()
    first.kill()
    eventually(lambda: len(up.processes()) == 4 and up.reaper() != first)
    up.signal(signal.SIGKILL)
    eventually(lambda: not up.left(), STOP_S)


def test_all_killed_at_once_leaves_what_the_next_one_ends(up: Up) -> None:
    up.start(
        {"name": "calm", "command": programs.obedient()},
        {"name": "stubborn", "command": programs.stubborn()},
    )
    up.ready()
    eventually(lambda: len(up.processes()) == 5)
    assert up.process is not None
    reaper = up.reaper()
    up.signal(signal.SIGSTOP)  # so that it starts no other one
    reaper.kill()
    up.signal(signal.SIGKILL)
    eventually(lambda: len(up.left()) == 2)  # the stubborn part and its child
    ours = process_group.of_folder(running.folder(up.state))
    assert process_group.end(ours, 0.0, 5.0) == []  # as the next `perdure up` does at first
    assert up.left() == []


def test_a_part_has_what_it_needs_from_its_first_to_its_last_words(up: Up) -> None:
    """It is started when the server answers, and the server ends after it."""
    port = closed_port()
    words = (
        "import signal, sys, time, urllib.request\n"
        "def ask():\n"
        f"    return urllib.request.urlopen('http://127.0.0.1:{port}/', timeout=5).status\n"
        "def end(*_):\n"
        "    time.sleep(1)\n"  # as a flow run, which first has to end
        "    print('last answer', ask(), flush=True)\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('first answer', ask(), flush=True)"
    )
    up.start(
        {
            "name": "client",
            "command": programs.command(words, programs.SLEEP),
            "needs": ["server"],
            "says": "first answer 200",
        },
        {
            "name": "server",
            "command": programs.served(port, after_s=1.0),
            "address": f"http://127.0.0.1:{port}/",
        },
    )
    up.ready()
    assert up.log("client").count("started as process") == 1
    up.signal(signal.SIGTERM)
    up.output()
    assert "last answer 200" in up.log("client")
    assert up.left() == []


def test_a_task_is_done_once(up: Up) -> None:
    up.start(
        {"name": "task", "command": programs.dying(0, words="done it"), "once": True},
        {"name": "calm", "command": programs.obedient(), "needs": ["task"]},
    )
    now = up.ready()
    assert [(one.name, one.state) for one in now.parts] == [("task", "done"), ("calm", "running")]
    up.signal(signal.SIGTERM)
    up.output()
    assert up.log("task").count("started as process") == 1


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (programs.dying(3, words="no such thing"), "exit code 3. Its last lines:\n  | no such"),
        (["/nowhere/at/all"], "/nowhere/at/all"),
        (programs.dying(1, words="OSError: No space left on device"), "free some space"),
        (programs.dying(1, words="[Errno 98] Address already in use"), "took its port"),
    ],
)
def test_what_cannot_start_ends_all_and_says_why(up: Up, command: list[str], words: str) -> None:
    up.start(
        {"name": "calm", "command": programs.obedient()},
        {"name": "broken", "command": command, "address": "http://127.0.0.1:9/"},
    )
    result = up.output()
    assert up.process is not None
    assert up.process.returncode == 1
    assert "FAILED broken did not start" in result
    assert words in result
    assert "READY" not in result
    assert up.left() == []


@pytest.mark.parametrize(("code", "tries"), [(2, 1), (5, 3)])
def test_a_task_that_fails_says_so_in_its_own_words(up: Up, code: int, tries: int) -> None:
    up.start({"name": "deploy", "command": programs.dying(code, words="not so"), "once": True})
    result = up.output()
    assert up.process is not None
    assert up.process.returncode == code
    assert "FAILED perdure deploy: not so" in result
    assert up.log("deploy").count("started as process") == tries


def test_a_second_one_is_refused_and_the_first_goes_on(up: Up) -> None:
    up.start({"name": "one", "command": programs.obedient()})
    first = up.ready()
    second = Up(up.root)
    second.start({"name": "one", "command": programs.obedient()})
    result = second.output()
    assert second.process is not None
    assert second.process.returncode == 4
    assert f"process {first.pid}" in result
    assert "http://127.0.0.1:9" in result
    assert "perdure down" in result
    assert up.now() == first


def test_a_second_signal_ends_it_at_once(up: Up) -> None:
    up.start({"name": "stubborn", "command": programs.stubborn(), "grace_s": 600.0})
    up.ready()
    eventually(lambda: len(up.processes()) == 4)
    up.signal(signal.SIGINT)
    eventually(lambda: (now := up.now()) and now.state == "stopping")
    assert len(up.left()) == 4
    up.signal(signal.SIGINT)
    eventually(lambda: not up.left(), 5.0)  # not after the 7.5 s that a tidy end may take


def test_a_full_disk_does_not_end_what_runs(up: Up) -> None:
    folder = up.state / "up" / "logs"
    folder.mkdir(parents=True)
    (folder / "loud.log").symlink_to("/dev/full")
    loud = programs.command(
        "for i in range(1000): print('x' * 1000)", "print('said', flush=True)", programs.SLEEP
    )
    up.start({"name": "loud", "command": loud, "says": "said"})
    up.ready()


def test_a_port_stays_the_same_while_it_is_free(tmp_path: Path) -> None:
    first = ports.choose(tmp_path, ["server", "mlflow"])
    assert len(set(first.values())) == 2
    assert ports.choose(tmp_path, ["mlflow"]) == {"mlflow": first["mlflow"]}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first["server"]))
        taken.listen()
        other = ports.choose(tmp_path, ["server", "mlflow"])
    assert other["server"] != first["server"]
    assert other["mlflow"] == first["mlflow"]
    (tmp_path / ports.FILE).write_text("broken")
    assert set(ports.choose(tmp_path, ["server"])) == {"server"}


def test_the_reaper_imports_little() -> None:
    heavy = ("psutil", "asyncio", "pydantic", "perdure.config", "prefect", "rich")
    code = (
        "import sys, perdure.service.process_group\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    asked = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.strip() == "[]"
