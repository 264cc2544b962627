"""Kill whatever runs, at random, while files arrive; then look whether anything was lost.

    python -m tests.soak --seed 1 --kills 200

prints what it did. The same seed chooses the same waits, files and kinds of victims; when exactly
a signal meets a process is up to the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from tests.soak.machine import Machine, environment, machine, workspace
from tests.soak.story import KEEPING, Story

VICTIMS = {
    "flow run": 8,
    "worker": 4,
    "server": 3,
    "watcher": 3,
    "forkserver": 2,
    "up": 2,
    "all": 2,
    "mlflow": 1,
}
"""Who is killed, by weight."""
IN_A_RUN = 0.15
"""Share of the kills that wait for a flow run first; else few would meet one at work."""
AWAIT_SECONDS = 40.0
MEANWHILE = {"prune": 0.08, "forget": 0.04, "move": 0.03}
"""What a person does between two kills, by its probability; half of these die of it, too."""


class Soak(Story):
    """One soak, from one seed."""

    def __init__(self, machine: Machine, seed: int) -> None:
        super().__init__(machine, seed)
        self.killed: Counter[str] = Counter()
        self.cut_short: list[str] = []

    def run(self, kills: int) -> list[str]:
        """Kill so often, let it settle, and tell what is wrong."""
        while self.killed.total() < kills:
            self.up()
            if self.random.random() < 0.3:
                for _ in range(self.random.choice((1, 1, 1, 3))):
                    self.arrive(bad=self.random.random() < 0.15)
            for name, share in MEANWHILE.items():
                if self.random.random() < share:
                    getattr(self, name)()
            if self.random.random() < IN_A_RUN:
                self.await_a_run()
            time.sleep(self.random.expovariate(1 / 2.0))
            self.kill()
        self.say(f"killed: {dict(self.killed)}")
        return self.end()

    def prune(self) -> None:
        """Remove old versions, beside whatever runs; and perhaps die of it."""
        self.perhaps_killed("prune", *KEEPING, "--yes")

    def forget(self) -> None:
        """Forget a row of one of the newest files, beside whatever runs; and perhaps die of it."""
        # What was cut short first: later there is more to learn again.
        names = self.cut_short or [name for name in self.good if name not in self.forgotten][-4:]
        if not names:
            return
        name = self.random.choice(names)
        self.forgotten.setdefault(name, self.row_of(name))
        code = self.perhaps_killed("forget", *self.forgotten[name], "--reason", "soak", "--yes")
        self.cut_short = [one for one in self.cut_short if one != name] + [name] * (code != 0)

    def move(self) -> None:
        """Move the champion's alias in MLflow to the version before, and release what is held."""
        if not self.move_back():
            return
        if held := list(self.machine.status()["held"]):
            self.perhaps_killed("release", *(one["id"] for one in held))

    def perhaps_killed(self, command: str, *arguments: str) -> int:
        """Run a command; half of the time it is killed after a while; its exit code."""
        process = self.machine.begin(command, *arguments)
        if self.random.random() < 0.5:
            time.sleep(self.random.uniform(1.0, 6.0))
            process.kill()
        code = process.wait()
        self.say(f"{command} ends with {code}")
        if code not in (0, 4, 5, -signal.SIGKILL):  # 4: another has the lock; 5: no server now
            raise AssertionError(f"{command} ends with {code}")
        return code

    def await_a_run(self) -> None:
        """Until a flow run's process is there, but not for ever."""
        end = time.monotonic() + AWAIT_SECONDS
        while not self.find("flow run") and time.monotonic() < end:
            time.sleep(0.2)

    def kill(self) -> None:
        """SIGKILL to one kind of process, or to all."""
        kind = self.random.choices([*VICTIMS], weights=[*VICTIMS.values()])[0]
        victims = self.find(kind)
        if not victims:
            return
        chosen = victims if kind == "all" else [self.random.choice(victims)]
        for one in chosen:
            with contextlib.suppress(psutil.Error):
                one.send_signal(signal.SIGKILL)
        self.killed[kind] += 1
        self.say(f"kill {self.killed.total()}: {kind} {[one.pid for one in chosen]}")
        if self.machine.process is not None and kind in {"up", "all"}:
            self.machine.process.wait()

    def find(self, kind: str) -> list[psutil.Process]:
        """The processes of a kind."""
        up = self.machine.process
        if kind == "all":
            return self.machine.processes()
        if kind == "up":
            return [psutil.Process(up.pid)] if up is not None and up.poll() is None else []
        everything = self.machine.processes()
        runs = [one for one in everything if _is_run(one)]
        if kind == "flow run":
            return runs
        if kind == "forkserver":
            return [one for one in everything if _is_forkserver(one) and one not in runs]
        here = self.machine.running()
        pids = {part.pid for part in here.parts if part.name.startswith(kind)} if here else set()
        return [one for one in everything if one.pid in pids]


def _is_run(process: psutil.Process) -> bool:
    """Whether it is a flow run's process: one in its own right, or a fork of the forkserver."""
    with contextlib.suppress(psutil.Error):
        if any("multiprocessing.spawn" in word for word in process.cmdline()):
            return True
        parent = process.parent()
        return parent is not None and _is_forkserver(process) and _is_forkserver(parent)
    return False


def _is_forkserver(process: psutil.Process) -> bool:
    """Whether it is a worker's forkserver, or a fork of it, which has the same command line."""
    return any("multiprocessing.forkserver" in word for word in process.cmdline())


def main() -> None:
    """Soak once for each seed."""
    parser = argparse.ArgumentParser("python -m tests.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--kills", type=int, default=200)
    asked = parser.parse_args()
    failed = False
    for seed in asked.seed:
        print(f"seed {seed}, {asked.kills} kills", flush=True)
        with tempfile.TemporaryDirectory(prefix="perdure-soak-") as name:
            root = workspace(Path(name) / "small")
            with machine(root, environment(Path(name))) as one:
                found = Soak(one, seed).run(asked.kills)
                if found:
                    failed = True
                    print(one.log.read_text()[-5000:], flush=True)
        print("\n".join(found) or f"seed {seed}: nothing was lost, and nothing is left", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
