"""A fork of the warm process is what a new process would be, and ends as one would."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from perdure.flows.retrain import retrain
from perdure.flows.service import warm, warm_client
from tests.promises import kit
from tests.soak.machine import wait

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks so")

TELL = """
import json, os, signal, sys, time
print(json.dumps({
    "arguments": sys.argv[1:], "folder": os.getcwd(), "said": sys.stdin.read(), "pid": os.getpid(),
    "variable": os.environ.get("ASKED"), "warm": "wave" in sys.modules, "parent": os.getppid(),
}), flush=True)
print("to stderr", file=sys.stderr, flush=True)
if "wait" in sys.argv:
    time.sleep(60)
sys.exit(7)
"""

LEARN = """
import sys
assert "torch" in sys.modules
from perdure.flows.retrain import retrain
retrain.fn(sys.argv[1])
"""

NO_FORKS = """
import os
from pathlib import Path

real = os.fork

def fork():
    if Path(__file__).with_name("no-forks").exists():
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return real()

os.fork = fork
"""

NO_SOCKETS = """
import socket

def bind(self, address):
    raise OSError(95, "Operation not supported")

socket.socket.bind = bind
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder whose address would be too long for a socket, with a module in it."""
    folder = tmp_path / ("long-" * 25)
    folder.mkdir()
    (tmp_path / "tell_all.py").write_text(TELL)
    return folder


def begun(place: Path, *modules: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "perdure.flows.service.warm", str(place), *modules]
    with log(place).open("ab") as file:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=file, env=environment(place))


def log(place: Path) -> Path:
    return place.parent / "warm.log"


def environment(place: Path) -> dict[str, str]:
    found = [str(place.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(found)}


def started(place: Path, *modules: str) -> subprocess.Popen[bytes]:
    process = begun(place, *modules)
    wait(lambda: (place / warm.SOCKET).exists(), 60, "it is warm")
    return process


@pytest.fixture
def server(place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The warm process, with one module that others do not import."""
    process = started(place, "wave")
    yield process
    process.kill()
    process.wait()
    if process.stdin:
        process.stdin.close()


def client(place: Path, module: str, *arguments: str) -> subprocess.Popen[str]:
    file = str(warm_client.__file__)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", file, str(place), module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=place.parent,
        env={**environment(place), "ASKED": "yes"},
    )


def told(process: subprocess.Popen[str]) -> tuple[dict[str, object], str, int]:
    out, error = process.communicate("words", timeout=60)
    return json.loads(out.splitlines()[0]), error, process.returncode


def test_a_fork_is_as_a_new_process_but_warm(place: Path, server: subprocess.Popen[bytes]) -> None:
    process = client(place, "tell_all", "one", "two words")
    said, error, code = told(process)
    assert said.pop("pid") != process.pid
    assert said == {
        "arguments": ["one", "two words"],
        "folder": str(place.parent),
        "said": "words",
        "variable": "yes",
        "warm": True,
        "parent": server.pid,
    }
    assert (error, code) == ("to stderr\n", 7)


def test_where_nobody_is_warm_it_is_a_new_process(place: Path) -> None:
    process = client(place, "tell_all", "one")
    said, _, code = told(process)
    assert (said["pid"], said["warm"], said["arguments"], code) == (process.pid, False, ["one"], 7)


def waiting(place: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    process = client(place, "tell_all", "wait")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    return process, psutil.Process(json.loads(process.stdout.readline())["pid"])


def finished(process: subprocess.Popen[str]) -> int:
    code = process.wait(timeout=30)
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()
    return code


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_fork_ends_with_its_client_and_the_client_as_its_fork(
    place: Path, number: signal.Signals
) -> None:
    process, fork = waiting(place)
    process.send_signal(number)
    assert finished(process) == -number
    wait(lambda: not fork.is_running(), 10, "the fork has ended")


@pytest.mark.usefixtures("server")
def test_a_signal_meets_a_fork_however_young_it_is(place: Path) -> None:
    """Before it is a program of its own it has the handlers of the warm process."""
    request = {
        "module": "tell_all",
        "arguments": ["wait"],
        "environment": {"PATH": os.defpath},
        "folder": str(place.parent),
    }
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as asking, Path(os.devnull).open("r+b") as null:
            asking.settimeout(30)
            descriptor = os.open(place, os.O_RDONLY)
            asking.connect(f"/proc/self/fd/{descriptor}/{warm.SOCKET}")
            os.close(descriptor)
            socket.send_fds(asking, [json.dumps(request).encode() + b"\n"], [null.fileno()] * 3)
            asking.send(bytes([signal.SIGTERM]))
            assert json.loads(asking.recv(1024)) == {"status": -signal.SIGTERM}


@pytest.mark.usefixtures("server")
def test_a_killed_fork_is_a_killed_client(place: Path) -> None:
    process, fork = waiting(place)
    fork.kill()
    assert finished(process) == -signal.SIGKILL


def test_all_end_with_the_warm_process(place: Path, server: subprocess.Popen[bytes]) -> None:
    process, fork = waiting(place)
    server.kill()
    assert finished(process) == -signal.SIGKILL
    wait(lambda: not fork.is_running(), 10, "the fork has ended")
    again = client(place, "tell_all")  # its socket is still there, and nobody listens
    assert told(again)[0]["warm"] is False


def test_it_ends_with_its_standard_input_and_its_forks_too(
    place: Path, server: subprocess.Popen[bytes]
) -> None:
    process, fork = waiting(place)
    assert server.stdin is not None
    server.stdin.close()
    assert server.wait(timeout=30) == 0
    assert finished(process) == -signal.SIGKILL
    wait(lambda: not fork.is_running(), 10, "the fork has ended")
    assert not (place / warm.SOCKET).exists()


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("words", [b"", b"rubbish\n", b'{"module": 1}\n', b"\x00" * 100])
def test_rubbish_is_refused_and_it_lives_on(place: Path, words: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as rude:
        folder = os.open(place, os.O_RDONLY)
        rude.connect(f"/proc/self/fd/{folder}/{warm.SOCKET}")
        os.close(folder)
        rude.sendall(words)
        rude.shutdown(socket.SHUT_WR)
        assert json.loads(rude.recv(1000)).keys() == {"refused"}
    assert told(client(place, "tell_all"))[0]["warm"] is True


def test_a_fork_that_fails_ends_no_other_and_its_run_starts_cold(place: Path) -> None:
    (place.parent / "without_forks.py").write_text(NO_FORKS)
    server = started(place, "without_forks", "wave")
    try:
        process, fork = waiting(place)
        before = psutil.Process(server.pid).num_fds()
        (place.parent / "no-forks").touch()
        for _ in range(2):
            cold = client(place, "tell_all", "one")
            said, _, code = told(cold)
            assert (said["pid"], said["warm"], code) == (cold.pid, False, 7)
        assert "Resource temporarily unavailable" in log(place).read_text()
        assert psutil.Process(server.pid).num_fds() == before
        state = Path(f"/proc/{server.pid}/status").read_text()
        assert "SigBlk:\t0000000000000000" in state  # or it could not be ended any more
        (place.parent / "no-forks").unlink()
        assert told(client(place, "tell_all"))[0]["warm"] is True
        assert fork.is_running()
        process.kill()
        finished(process)
    finally:
        server.kill()
        server.wait()
        if server.stdin:
            server.stdin.close()


@pytest.mark.usefixtures("server")
def test_what_is_too_long_to_be_asked_for_starts_cold(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(11):
        monkeypatch.setenv(f"LONG_{number}", "x" * 100_000)
    process = client(place, "tell_all", "one")
    said, _, code = told(process)
    assert (said["pid"], said["warm"], code) == (process.pid, False, 7)


def test_where_there_can_be_no_socket_nothing_is_imported_and_runs_start_cold(place: Path) -> None:
    (place.parent / "sitecustomize.py").write_text(NO_SOCKETS)
    (place.parent / "imported.py").write_text(
        "import pathlib; pathlib.Path(__file__ + '.was').touch()"
    )
    process = begun(place, "imported")
    try:
        wait(lambda: "not warm: [Errno 95]" in log(place).read_text(), 60, "it says so")
        said, _, code = told(client(place, "tell_all"))
        assert (said["warm"], code) == (False, 7)
        assert process.poll() is None  # or it would be started again and again
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=30) == 0
        assert not (place.parent / "imported.py.was").exists()
    finally:
        process.kill()
        process.wait()


@pytest.mark.usefixtures("server")
def test_nobody_else_may_ask(place: Path) -> None:
    assert (place / warm.SOCKET).stat().st_mode & 0o077 == 0


def test_a_retraining_in_a_fork_is_that_of_a_new_process(place: Path) -> None:
    (place.parent / "learn.py").write_text(LEARN)
    roots = []
    for name in ("warm", "cold"):
        (place.parent / name).mkdir()
        roots.append(kit.make(place.parent / name / "small"))
    process = started(place)
    try:
        one = client(place, "learn", str(roots[0]))
        _, error = one.communicate(timeout=120)
        assert one.returncode == 0, error
    finally:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()
    retrain.fn(str(roots[1]))
    first, second = (kit.learners(root) for root in roots)
    assert first == second
    assert first[0]["cursor"]
