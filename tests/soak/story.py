"""What happens to a machine while files arrive: told line by line, and judged at the end."""

from __future__ import annotations

import random
import time

from tests.promises import kit
from tests.soak import checks
from tests.soak.machine import Machine

STUCK_SECONDS = 150.0
"""Work is picked up again in two minutes; so long without any progress, and it is not."""
BAD = kit.table(5).replace("a,b,", "a,c,")


class Story:
    """A machine to whose inbox files come, from one seed."""

    def __init__(self, machine: Machine, seed: int) -> None:
        self.machine = machine
        self.random = random.Random(seed)
        self.start = time.monotonic()
        self.good: dict[str, int] = {"small-first.csv": 120}
        self.bad: list[str] = []

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

    def end(self) -> list[str]:
        """Let it settle, end it, and tell what is wrong."""
        self.up()
        self.say(f"{len(self.good)} files, {len(self.bad)} bad ones")
        try:
            self.settle()
        except AssertionError as error:
            return [str(error), *checks.faults(self.machine, self.good, self.bad)]
        found = list(checks.faults(self.machine, self.good, self.bad))
        self.machine.stop()
        time.sleep(1)
        return found + [f"still there: {one}" for one in self.machine.processes()]
