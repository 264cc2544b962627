"""What happens to a machine while files arrive: told line by line, and judged at the end."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator

from perdure import config
from perdure.tasks.registry import Registry
from tests.promises import kit
from tests.soak import checks
from tests.soak.machine import Machine

STUCK_SECONDS = 150.0
"""Work is picked up again in two minutes; so long without any progress, and it is not."""
KEEPING = ("--keep", "3", "--keep-days", "0")
"""What `perdure prune` leaves."""
BAD = kit.table(5).replace("a,b,", "a,c,")


class Story:
    """A machine to whose inbox files come, from one seed."""

    def __init__(self, machine: Machine, seed: int) -> None:
        self.machine = machine
        self.random = random.Random(seed)
        self.start = time.monotonic()
        self.good: dict[str, int] = {"small-first.csv": 120}
        self.bad: list[str] = []
        self.forgotten: dict[str, tuple[str, str]] = {}
        """By file, the option that names a row of it which is to be forgotten."""

    def say(self, text: str) -> None:
        """One line of what is done."""
        print(f"{time.monotonic() - self.start:7.1f} s  {text}", flush=True)

    def up(self) -> None:
        """Start `perdure up` where it does not run, as an init system would."""
        if not self.machine.alive:
            self.machine.up()
            self.say("perdure up")

    def arrive(self, *, bad: bool = False) -> None:
        """A file arrives.

        Args:
            bad: One that the schema refuses.

        Raises:
            OSError: There is no room for it; it has not arrived.
        """
        number = 10 + len(self.good) + len(self.bad)
        name = f"file-{number}.csv"
        text = BAD.replace("\n", f"\n{number},0,red,no\n", 1) if bad else kit.table(number)
        part = self.machine.root / "inbox" / f".{name}"
        part.write_text(text, encoding="utf-8")
        part.rename(part.with_name(name))
        if bad:
            self.bad.append(name)
        else:
            self.good[name] = 60
        self.say(f"{name} arrives{', which does not fit the schema' if bad else ''}")

    def row_of(self, name: str) -> tuple[str, str]:
        """The option of `perdure forget` that names one row of a good file."""
        number = int(name.removeprefix("file-").removesuffix(".csv")) if "file-" in name else 1
        rows = kit.table(number, self.good[name]).splitlines()[1:]
        a, b, *_ = self.random.choice(rows).split(",")
        return "--where", f"a == {a} and b == {b}"

    def move_back(self) -> bool:
        """Move the alias champion in MLflow to the version that it replaced; whether there is one.

        As a person does on MLflow's page, while anything else may be at work.
        """
        registry = Registry(config.read(self.machine.root))
        champion = registry.read().champion
        known = {one.version for one in registry.versions()}
        if champion is None or champion.replaced not in known:
            return False
        to = str(champion.replaced)
        registry.client.call("set_registered_model_alias", registry.name, "champion", to)
        self.say(f"champion moved to version {to} in MLflow")
        return True

    def forgets(self) -> Iterator[str]:
        """Finish what a killed `perdure forget` began; what is wrong then."""
        for where in self.forgotten.values():
            result = self.patiently("forget", *where, "--reason", "soak", "--yes")
            if result.returncode:
                yield f"forget ends with {result.returncode}: {result.stderr}"
        yield from checks.forgotten(self.machine.root, self.forgotten)

    def patiently(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command, again where a retraining has the lock."""
        for _ in range(20):
            result = self.machine.perdure(*arguments)
            if result.returncode != 4:
                break
            time.sleep(3)
        return result

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
        self.say("settled")

    def pruned(self) -> list[str]:
        """Finish what a killed `perdure prune` began; what is wrong then."""
        result = self.patiently("prune", *KEEPING, "--yes")
        self.say(result.stdout.strip().rpartition("\n")[2])
        if result.returncode:
            return [f"prune ends with {result.returncode}: {result.stderr}"]
        return list(checks.versions(self.machine.root))

    def end(self) -> list[str]:
        """Let it settle, end it, and tell what is wrong."""
        self.up()
        self.say(f"{len(self.good)} files, {len(self.bad)} bad ones")
        forgets = list(self.forgets())
        for _ in range(3):  # a run that waited for its turn may start between the two
            try:
                self.settle()
            except AssertionError as error:
                return [str(error), *checks.faults(self.machine, self.good, self.bad)]
            found = list(checks.faults(self.machine, self.good, self.bad))
            if not found:
                break
        found += [*forgets, *self.pruned()]
        self.machine.stop()
        time.sleep(1)
        return found + [f"still there: {one}" for one in self.machine.processes()]
