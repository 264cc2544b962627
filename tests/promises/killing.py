"""Kills commands at every kind of moment, runs them again, and tells what stands then.

    python -m tests.promises.killing FOLDER

A driver, one process: it imports and warms everything once, and forks a child for each
command, so that a case costs a second and not ten. A child counts the points at which it
touches something outside (a file of the workspace opened for writing, renamed or removed, a
process started, an SQL statement or a commit), and at the chosen one it kills itself with
SIGKILL: no handler runs, no file is flushed. Then a second child runs the same command to its
end. What stands then is compared with what the command leaves that nobody killed.

Writes `FOLDER/<scenario>.json`: `points`, `cases` and `control`.
"""

from __future__ import annotations

import faulthandler
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.promises import kit

SEED = 20261121
HANGS_S = 60.0
"""A child that takes longer says where it is, and ends."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
FILE_EVENTS = frozenset(
    ["os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"]
)

Command = Callable[[Path], None]


@dataclass(frozen=True)
class Scenario:
    """One command on one workspace."""

    name: str
    prepare: Command
    command: Command
    careless: Command
    """Switches off what makes it right in the end: the negative control."""
    cases: int
    moments: Callable[[list[str]], list[int]] = lambda _names: []
    """Points, told from all points' names, that are cases too, and the control's."""
    twice: int = 1
    """So many further cases are killed again while they recover."""


class Points:
    """Counts the moments at which this process touches something outside."""

    def __init__(self, root: Path, fatal: int | None) -> None:
        self.root = str(root)
        self.fatal = fatal
        self.names: list[str] = []
        self._wrote = False

    def hit(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        sys.addaudithook(self._audited)
        event.listen(Engine, "before_cursor_execute", self._statement)
        event.listen(Engine, "commit", lambda _connection: self._commit())
        start = subprocess.Popen.__init__

        def started(process: Any, *args: Any, **kwargs: Any) -> None:
            start(process, *args, **kwargs)
            self.hit("a process runs")

        # Replaced for good, in a forked child that is killed.
        subprocess.Popen.__init__ = started  # type: ignore[method-assign,assignment]

    def _audited(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            if args[2] & WRITING and self._ours(args[0]):
                self.hit(f"open {self._relative(args[0])}")
        elif event in FILE_EVENTS:
            if any(self._ours(one) for one in args[:2]):
                self.hit(f"{event} {self._relative(args[0])}")
        elif event == "subprocess.Popen":
            self.hit(f"start {' '.join(map(str, args[1]))[-60:]}")

    def _statement(self, _connection: Any, _cursor: Any, text: str, *_more: Any) -> None:
        if not text.lstrip().upper().startswith(("SELECT", "PRAGMA")):
            self._wrote = True
            self.hit(" ".join(text.split())[:60])

    def _commit(self) -> None:
        """Before it: what was written is gone. That it is there, the next point sees."""
        if self._wrote:
            self._wrote = False
            self.hit("commit")

    def _ours(self, path: Any) -> bool:
        return isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(self.root)

    def _relative(self, path: Any) -> str:
        return str(os.fspath(path)).removeprefix(self.root)


class Driver:
    """Runs scenarios, each from a template of its workspace at always the same place.

    Args:
        folder: For the workspace, its template, and what the children say.
        picture: What stands in the workspace, to be compared.
    """

    def __init__(self, folder: Path, picture: Callable[[Path], dict[str, Any]]) -> None:
        self.folder = folder
        self.picture = picture
        self.root = folder / "workspace"
        self.template = folder / "template"
        self.log = folder / "log.txt"

    def run(self, scenario: Scenario) -> dict[str, Any]:
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self.template, ignore_errors=True)
        self.child(scenario.prepare)
        self.root.rename(self.template)

        self.restore()
        wanted, names = self.through(scenario.command)
        again, recount = self.whole(scenario)
        chance = random.Random(f"{SEED} {scenario.name}")
        moments = scenario.moments(names)
        fatal = sorted({*spread(chance, min(len(names), recount), scenario.cases), *moments})
        cases = [self.case(scenario.command, wanted, [at]) for at in fatal]
        for _ in range(scenario.twice):
            first = chance.choice(fatal)
            cases.append(self.case(scenario.command, wanted, [first, chance.randint(1, 12)]))
        return {
            "points": len(names),
            "names": names,
            "again": {"points": recount, "differences": kit.differences(again, wanted)},
            "done": wanted,
            "cases": cases,
            "control": self.control(scenario, wanted, [*moments, *fatal[::-1]]),
        }

    def whole(self, scenario: Scenario) -> tuple[dict[str, Any], int]:
        """Once more, not killed: the comparison must be able to succeed."""
        self.restore()
        found, names = self.through(scenario.command)
        return found, len(names)

    def case(self, command: Command, wanted: dict[str, Any], fatal: list[int]) -> dict[str, Any]:
        """Kill the command at each of the points in turn, then run it to its end."""
        self.restore()
        killed = [self.child(command, at) == -signal.SIGKILL for at in fatal]
        try:
            found, _ = self.through(command)
            differences = kit.differences(found, wanted)
        except ChildFailed as error:
            differences = [f"failed: {str(error)[-1500:]}"]
        return {"at": fatal, "killed": killed, "differences": differences}

    def control(self, scenario: Scenario, wanted: dict[str, Any], fatal: list[int]) -> int | None:
        """A point after which the second run does harm when both runs are careless."""

        def careless(root: Path) -> None:
            scenario.careless(root)
            scenario.command(root)

        for at in fatal:
            self.restore()
            self.child(careless, at)
            try:
                found, _ = self.through(careless)
            except ChildFailed:
                return at
            if kit.differences(found, wanted):
                return at
        return None

    def restore(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.template, self.root, symlinks=True)

    def through(self, command: Command) -> tuple[dict[str, Any], list[str]]:
        """Run a command to its end; what stands then, and the points that it passed."""
        result = self.folder / "result.json"

        def tell(root: Path) -> None:
            points = watched
            command(root)
            names = list(points.names)
            result.write_text(json.dumps([self.picture(root), names]), encoding="utf-8")

        watched = Points(self.root, None)
        self.child(tell, watched=watched)
        found, names = json.loads(result.read_text(encoding="utf-8"))
        return found, names

    def child(
        self, command: Command, fatal: int | None = None, watched: Points | None = None
    ) -> int:
        """Fork, run a command, and wait; the exit code, or minus the signal."""
        self.log.unlink(missing_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                log = os.open(self.log, os.O_WRONLY | os.O_CREAT)
                os.dup2(log, 1)
                os.dup2(log, 2)
                faulthandler.dump_traceback_later(HANGS_S, exit=True)
                points = watched or Points(self.root, fatal)
                points.watch()
                command(self.root)
                code = 0
            except BaseException:  # noqa: BLE001 - told to the driver, whatever it is
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code > 0:
            raise ChildFailed(self.log.read_text(encoding="utf-8"))
        return code


class ChildFailed(Exception):
    """A command that nobody killed did not end well."""


def spread(chance: random.Random, points: int, cases: int) -> list[int]:
    """The first point, the last, and one at random out of each part in between."""
    cases = min(cases, points)
    edges = [1 + round(i * (points - 2) / (cases - 2)) for i in range(cases - 1)]
    inner = [chance.randint(low, max(low, high - 1)) for low, high in itertools.pairwise(edges)]
    return sorted({1, *inner, points})


def main(folder: Path, names: list[str]) -> None:
    # OpenMP's threads do not come along into a fork: a child would wait for them for ever.
    os.environ["OMP_NUM_THREADS"] = "1"
    from tests.promises import scenarios

    warm = folder / "warm"
    scenarios.warm(warm)
    driver = Driver(folder, kit.picture)
    for scenario in scenarios.ALL:
        if not names or scenario.name in names:
            result = driver.run(scenario)
            (folder / f"{scenario.name}.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
