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
from tests.soak.story import Story

VICTIMS = {
    "flow run": 8,
    "worker": 4,
    "server": 3,
    "watcher": 3,
    "warm": 2,
    "up": 2,
    "all": 2,
    "mlflow": 1,
}
"""Who is killed, by weight."""
IN_A_RUN = 0.15
"""Share of the kills that wait for a flow run first; else few would meet one at work."""
AWAIT_SECONDS = 40.0


class Soak(Story):
    """One soak, from one seed."""

    def __init__(self, machine: Machine, seed: int) -> None:
        super().__init__(machine, seed)
        self.killed: Counter[str] = Counter()

    def run(self, kills: int) -> list[str]:
        """Kill so often, let it settle, and tell what is wrong."""
        while self.killed.total() < kills:
            self.up()
            if self.random.random() < 0.3:
                for _ in range(self.random.choice((1, 1, 1, 3))):
                    self.arrive(bad=self.random.random() < 0.15)
            if self.random.random() < IN_A_RUN:
                self.await_a_run()
            time.sleep(self.random.expovariate(1 / 2.0))
            self.kill()
        self.say(f"killed: {dict(self.killed)}")
        return self.end()

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
        here = self.machine.running()
        pids = {part.pid for part in here.parts if part.name.startswith(kind)} if here else set()
        return [one for one in everything if one.pid in pids]


def _is_run(process: psutil.Process) -> bool:
    """Whether it is a flow run's process: one in its own right, or a fork of the warm one."""
    with contextlib.suppress(psutil.Error):
        if "PREFECT__FLOW_RUN_ID" in process.environ():
            return True
        parent = process.parent()
        return parent is not None and _is_warm(process) and _is_warm(parent)
    return False


def _is_warm(process: psutil.Process) -> bool:
    return any("service.warm" in word for word in process.cmdline())


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
