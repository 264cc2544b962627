"""What `perdure up` depends on goes away for a while, and comes back.

    python -m tests.soak.outages servers --seconds 3600
    python -m tests.soak.outages disk
    python -m tests.soak.outages clock

Files arrive all the while, `perdure up` itself is killed, and afterwards nothing may be lost.
`servers`: Prefect's and MLflow's, which run elsewhere, are killed. `disk`: not a byte is free, on a
file system of its own. `clock`: jumps, by a day and by a month, forward and back.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from tests.soak.machine import CONFIG, environment, machine, wait, workspace
from tests.soak.story import Story

READY_SECONDS = 180.0
DISK_BYTES = 300_000_000
DAY_S = 86_400
JUMPS_S = (DAY_S, -2 * DAY_S, 30 * DAY_S, -3600, 0)
"""Where the clock stands after each jump, against the true time."""
NO_NAMESPACE = 77
"""Exit code: this machine does not let a user have a file system of his own."""


class Elsewhere:
    """A server on another machine: it goes away and comes back at the same address."""

    def __init__(self, name: str, health: str, command: Callable[[int], list[str]]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.name = name
        self.address = f"http://127.0.0.1:{port}"
        self._health = self.address + health
        self._command = command(port)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, folder: Path, own: dict[str, str]) -> None:
        """Start it, and wait until it answers."""
        # MLflow's own job runner: eight processes that nobody here has work for.
        own = {**own, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=own, stdin=subprocess.PIPE, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        wait(self._answers, READY_SECONDS, f"{self.name} answers")

    def kill(self) -> None:
        """SIGKILL to all of its processes."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            self._process = None

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(self._health, timeout=5).is_success
        return False


def prefect(folder: Path) -> Elsewhere:
    """Prefect's server."""
    program = [sys.executable, "-P", "-m", "perdure.service.server"]
    return Elsewhere(
        "prefect", "/api/health", lambda port: [*program, str(folder / "prefect.db"), str(port)]
    )


def mlflow(folder: Path) -> Elsewhere:
    """MLflow's."""
    program = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    stores += ["--artifacts-destination", str(folder / "artifacts")]
    return Elsewhere("mlflow", "/health", lambda port: [*program, *stores, "--port", str(port)])


def servers(folder: Path, seconds: float, away: tuple[str, ...] = ("prefect", "mlflow")) -> None:
    """Servers are away for so long.

    Raises:
        AssertionError: Something is wrong.
    """
    own = environment(folder)
    every = [prefect(folder), mlflow(folder)]
    with contextlib.ExitStack() as ended:
        for one in every:
            ended.callback(one.kill)
            one.start(folder, own)
        address = {one.name: one.address for one in every}
        own = environment(folder, PREFECT_API_URL=f"{address['prefect']}/api")
        config = f'{CONFIG}\n[tracking]\nuri = "{address["mlflow"]}"\n'
        with _story(folder, own, config) as story:
            story.arrive()
            time.sleep(3)  # a run is at work
            for one in every:
                if one.name in away:
                    one.kill()
                    story.say(f"{one.name} is gone")
            end = time.monotonic() + seconds
            for number in range(6):
                story.arrive(bad=number == 3)
                if number == 2:
                    _said(story, "status")
                    story.kill_up()
                _watch(story, min(end, time.monotonic() + seconds / 6))
            assert "does not answer: Connection refused" in _said(story, "status")
            for one in every:
                if one.name in away:
                    one.start(folder, environment(folder))
                    story.say(f"{one.name} is back")


def disk(folder: Path, seconds: float) -> None:
    """Not a byte is free for so long. The folder must be a file system of its own.

    Raises:
        AssertionError: Something is wrong.
    """
    (folder / "tmp").mkdir()
    own = environment(folder, TMPDIR=str(folder / "tmp"))
    ballast = folder / "ballast"
    with _story(folder, own, CONFIG) as story:
        story.arrive()
        time.sleep(3)  # a run is at work
        end = time.monotonic() + seconds
        number = 0
        while time.monotonic() < end:
            _fill(ballast)
            story.say("the disk is full")
            _watch(story, min(end, time.monotonic() + seconds / 4))
            if number == 1:
                for command in ("status", "ingest"):
                    assert "free some space" in _said(story, command)
                story.kill_up()
                _watch(story, time.monotonic() + 10)
            with ballast.open("r+b") as file:
                file.truncate(max(0, ballast.stat().st_size - 16_384))
            with contextlib.suppress(OSError):
                story.arrive(bad=number == 1)
            number += 1
        _fill(ballast)
        _watch(story, time.monotonic() + seconds / 4)
        for part in (folder / "small" / "inbox").glob(".file-*"):  # what had no room
            part.unlink()
        ballast.unlink()
        story.say("there is room again")


def clock(folder: Path, seconds: float) -> None:
    """The clock jumps, and stands wrong for so long in all.

    Raises:
        AssertionError: Something is wrong.
    """
    import libfaketime

    now = folder / "clock"
    _set(now, 0)
    library = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"
    own = environment(
        folder,
        LD_PRELOAD=str(library),
        FAKETIME_TIMESTAMP_FILE=str(now),
        FAKETIME_CACHE_DURATION="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
        FAKETIME_DONT_RESET="1",
        # Else it takes the clock of a lock with a time limit for the other one, and each thread
        # that waits for Python's interpreter spins.
        FAKETIME_FORCE_MONOTONIC_FIX="0",
    )
    _set(now, DAY_S)
    program = [sys.executable, "-c", "import time; print(time.time())"]
    output = subprocess.run(program, env=own, capture_output=True, text=True, check=True).stdout
    assert float(output) - time.time() > DAY_S / 2, "libfaketime shifts no clock here"
    _set(now, 0)
    with _story(folder, own, CONFIG) as story:
        for number, offset in enumerate(JUMPS_S):
            story.arrive(bad=number == 2)
            time.sleep(2 + number)  # while the run is about to start, or at work
            _set(now, offset)
            story.say(f"the clock is {offset / 3600:+g} h off")
            _watch(story, time.monotonic() + seconds / len(JUMPS_S))
            story.settle()
            if number == 1:
                story.kill_up()


@contextlib.contextmanager
def _story(folder: Path, own: dict[str, str], config: str) -> Iterator[Outage]:
    """A machine that is ready and has learned its first experience; judged at the end."""
    with machine(workspace(folder / "small", config), own) as one:
        story = Outage(one, seed=1)
        story.up()
        here = one.running
        wait(lambda: (now := here()) is not None and now.state == "ready", READY_SECONDS, "ready")
        wait(lambda: one.status()["champion"], READY_SECONDS, "a first champion")
        story.say("the first experience is learned")
        try:
            yield story
        finally:
            log = "\n".join(one.log.read_text(errors="replace").splitlines()[-60:])
            print(f"--- what perdure up said\n{log}\n---", flush=True)
        found = story.end()
        assert not found, "\n".join(found)


class Outage(Story):
    """A machine that lacks what it depends on."""

    def kill_up(self) -> None:
        """SIGKILL to `perdure up`; it is started again by whoever tends it."""
        if self.machine.process is not None:
            self.machine.process.kill()
            self.machine.process.wait()
            self.say("perdure up is killed")


def _watch(story: Story, until: float) -> None:
    """Pass the time as an init system does, which starts again what has ended."""
    while time.monotonic() < until:
        story.up()
        time.sleep(min(5.0, max(0.0, until - time.monotonic())))


def _said(story: Story, *command: str) -> str:
    """What a person reads who looks in this moment."""
    result = story.machine.perdure(*command)
    words = (result.stdout + result.stderr).strip() or "(nothing)"
    story.say(f"perdure {' '.join(command)} ends with {result.returncode}:\n{words}")
    return words


def _fill(path: Path) -> None:
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)


def _set(path: Path, offset_s: int) -> None:
    part = path.with_name("clock.part")
    part.write_text(f"{offset_s:+d}")
    part.replace(path)


def in_a_file_system(arguments: list[str]) -> int:
    """Run this program again where /tmp is a small file system of its own.

    Returns:
        Its exit code; `NO_NAMESPACE`: the machine does not let its user do that.
    """
    where = ["unshare", "--user", "--map-root-user", "--mount"]
    with tempfile.TemporaryDirectory(prefix="perdure-disk-") as name:
        mount = f"mount -t tmpfs -o size={DISK_BYTES} tmpfs {name}"
        try:
            if subprocess.run(
                [*where, "sh", "-c", mount], check=False, capture_output=True
            ).returncode:
                return NO_NAMESPACE
        except FileNotFoundError:
            return NO_NAMESPACE
        program = [sys.executable, "-m", "tests.soak.outages", *arguments, "--folder", name]
        script = f'{mount} && exec "$@"'
        return subprocess.run([*where, "sh", "-c", script, "sh", *program], check=False).returncode


def main() -> int:
    """One outage, or all.

    Returns:
        The exit code.
    """
    kinds = {"servers": servers, "disk": disk, "clock": clock}
    parser = argparse.ArgumentParser("python -m tests.soak.outages", description=__doc__)
    parser.add_argument("kind", choices=[*kinds, "all"])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    chosen = [*kinds] if asked.kind == "all" else [asked.kind]
    skipped = 0
    for kind in chosen:
        print(f"{kind}, {asked.seconds:g} s", flush=True)
        if kind == "disk" and asked.folder is None:
            code = in_a_file_system([kind, "--seconds", str(asked.seconds)])
            if code == NO_NAMESPACE:
                print("skipped: this machine lets no user have a file system of his own")
                skipped = code
            elif code:
                return code
            continue
        with contextlib.ExitStack() as ended:
            name = asked.folder or ended.enter_context(
                tempfile.TemporaryDirectory(prefix="perdure-outage-")
            )
            kinds[kind](Path(name), asked.seconds)
        print(f"{kind}: nothing was lost, and nothing is left", flush=True)
    return 0 if asked.kind == "all" else skipped


if __name__ == "__main__":
    sys.exit(main())
