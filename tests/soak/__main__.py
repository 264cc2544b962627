"""Kill whatever runs, at random, while files arrive; then look whether anything was lost.

    python -m tests.soak --seed 1 --kills 200

prints what it did. The same seed chooses the same waits, files and kinds of victims; when exactly
a signal meets a process is up to the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from tests.promises import kit
from tests.soak import checks
from tests.soak.machine import Machine, machine, workspace

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
STUCK_SECONDS = 150.0
"""Work is picked up again in two minutes; so long without any progress, and it is not."""
BAD = kit.table(5).replace("a,b,", "a,c,")


class Soak:
    """One soak, from one seed."""

    def __init__(self, machine: Machine, seed: int) -> None:
        self.machine = machine
        self.random = random.Random(seed)
        self.start = time.monotonic()
        self.good: dict[str, int] = {"small-first.csv": 120}
        self.bad: list[str] = []
        self.killed: Counter[str] = Counter()

    def say(self, text: str) -> None:
        """One line of what is done."""
        print(f"{time.monotonic() - self.start:7.1f} s  {text}", flush=True)

    def run(self, kills: int) -> list[str]:
        """Kill so often, let it settle, and tell what is wrong."""
        self.machine.up()
        while self.killed.total() < kills:
            if not self.machine.alive:  # as an init system would
                self.machine.up()
                self.say("perdure up")
            if self.random.random() < 0.3:
                self.arrive()
            if self.random.random() < IN_A_RUN:
                self.await_a_run()
            time.sleep(self.random.expovariate(1 / 2.0))
            self.kill()
        if not self.machine.alive:
            self.machine.up()
        self.say(f"killed: {dict(self.killed)}; {len(self.good)} files, {len(self.bad)} bad ones")
        self.settle()
        self.say("settled")
        found = list(checks.faults(self.machine, self.good, self.bad))
        self.machine.stop()
        time.sleep(1)
        found += [f"still there: {one}" for one in self.machine.processes()]
        return found

    def await_a_run(self) -> None:
        """Until a flow run's process is there, but not for ever."""
        end = time.monotonic() + AWAIT_SECONDS
        while not self.find("flow run") and time.monotonic() < end:
            time.sleep(0.2)

    def settle(self) -> None:
        """Wait until nothing is left to do.

        Raises:
            AssertionError: Nothing has moved for too long.
        """
        before: object = None
        moved = time.monotonic()
        while not checks.settled(self.machine):
            status = self.machine.status()
            now = [status[key] for key in ("inbox", "pending", "experiences", "champion")]
            if now != before:
                before, moved = now, time.monotonic()
            if time.monotonic() - moved > STUCK_SECONDS:
                raise AssertionError(f"stuck for {STUCK_SECONDS:.0f} s at {now}")
            time.sleep(1)

    def arrive(self) -> None:
        """One file, or several at once; now and then one that the schema refuses."""
        for _ in range(self.random.choice((1, 1, 1, 3))):
            number = 10 + len(self.good) + len(self.bad)
            name, bad = f"file-{number}.csv", self.random.random() < 0.15
            text = BAD.replace("\n", f"\n{number},0,red,no\n", 1) if bad else kit.table(number)
            part = self.machine.root / "inbox" / f".{name}"
            part.write_text(text, encoding="utf-8")
            part.rename(part.with_name(name))
            if bad:
                self.bad.append(name)
            else:
                self.good[name] = 60
            self.say(f"{name} arrives{', which does not fit the schema' if bad else ''}")

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
            home = Path(name) / "home"
            home.mkdir()
            environment = {
                **os.environ,
                "HOME": str(home),
                "PREFECT_HOME": str(home / "prefect"),
                "OMP_NUM_THREADS": "1",
            }
            environment.pop("PREFECT_API_URL", None)
            root = workspace(Path(name) / "small")
            with machine(root, environment) as one:
                found = _soaked(Soak(one, seed), asked.kills)
                if found:
                    failed = True
                    print(one.log.read_text()[-5000:], flush=True)
        print("\n".join(found) or f"seed {seed}: nothing was lost, and nothing is left", flush=True)
    sys.exit(failed)


def _soaked(soak: Soak, kills: int) -> list[str]:
    try:
        return soak.run(kills)
    except AssertionError as error:
        found = list(checks.faults(soak.machine, soak.good, soak.bad))
        return [str(error), *found]


if __name__ == "__main__":
    main()
