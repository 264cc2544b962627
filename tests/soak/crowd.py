"""Many processes at once on two clones, a third of them killed; then look at the history.

    python -m tests.soak.crowd --processes 50 --seconds 60 --registry sqlite
    python -m tests.soak.crowd --processes 50 --seconds 60 --registry server

Each process does one thing and ends: it promotes, rolls back, retrains or ingests. They are forks
of one that has imported everything, so that a machine of two cores has room for fifty. `server`: an
MLflow server that asks for a password; it needs Flask-WTF, which comes with `mlflow[auth]`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.promises import kit
from tests.service.clones import Clones
from tests.soak.linearity import ANY, Line, Operation, Record, faults
from tests.tasks.server_kit import Server, passwords

WEIGHTS = {"promote": 12, "rollback": 12, "ingest": 1, "retrain": 1}
KILLED = 1 / 3
LIVES_S = 8.0
"""Whom it meets is killed within so long."""
PATIENCE_S = 20.0
"""So that most wait for their turn, and are not only told that another one works."""
LAST_S = 180.0
"""How long those that still run at the end may take."""


@dataclass
class Child:
    """A process that does one thing."""

    number: int
    name: str
    pid: int
    start: float
    dies: float | None
    """When it is killed."""


class Crowd:
    """Two clones, and the processes that work on them.

    Args:
        folder: For all of it.
        uri: Of MLflow; None: a SQLite file beside the clones.
        seed: Chooses what is done, and who is killed when.
    """

    def __init__(self, folder: Path, uri: str | None, seed: int) -> None:
        self.folder = folder
        self.uri = uri or f"sqlite:///{folder / 'registry' / 'mlflow.db'}"
        self.random = random.Random(seed)
        self.answers = folder / "answers"
        self.answers.mkdir(parents=True)
        self.operations: list[Operation] = []
        self.codes: Counter[str] = Counter()
        self.died: list[str] = []

    @property
    def clones(self) -> Clones:
        return Clones(self.folder / "clones", uri=self.uri)

    def run(self, processes: int, seconds: float) -> list[str]:
        """Let so many work for so long, and tell what is wrong with what they leave."""
        self.whole(self.prepare)
        before = json.loads((self.answers / "before.json").read_text())
        running: dict[int, Child] = {}
        number, end = 0, time.time() + seconds
        while time.time() < end or running:
            now = time.time()
            if now < end and len(running) < processes:
                child = self.start(number)
                running[child.pid] = child
                number += 1
                continue
            if now > end + LAST_S:
                for pid in running:
                    os.kill(pid, signal.SIGKILL)
                return [f"{len(running)} processes did not end"]
            self.reap(running)
            time.sleep(0.005)
        self.whole(self.finish)
        return [*self.died, *faults(self.record(before))]

    def start(self, number: int) -> Child:
        """Fork a process that does something at random."""
        name = self.random.choices([*WEIGHTS], weights=[*WEIGHTS.values()])[0]
        clone, chance = self.random.choice("ab"), random.Random(self.random.random())
        dies = self.random.uniform(0.0, LIVES_S) if self.random.random() < KILLED else None
        start = time.time()
        pid = self.fork(lambda: self.answer(number, name, clone, chance), self.log(number))
        return Child(number, name, pid, start, None if dies is None else start + dies)

    def reap(self, running: dict[int, Child]) -> None:
        """Kill whose time has come, and note who has ended."""
        now = time.time()
        for child in [*running.values()]:
            if child.dies is not None and now > child.dies:
                os.kill(child.pid, signal.SIGKILL)
                child.dies = None
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if not pid:
                continue
            del running[pid]
            code = os.waitstatus_to_exitcode(status)
            result = self.answers / f"{child.number}.json"
            moves = json.loads(result.read_text()) if result.exists() else []
            killed = code == -signal.SIGKILL
            self.operations.append(
                Operation(child.name, child.start, time.time(), tuple(map(tuple, moves)), killed)
            )
            self.codes[f"{child.name} {'killed' if killed else code}"] += 1
            if code == 1 or (code < 0 and not killed):
                self.died.append(f"{child.name}: {self.log(child.number).read_text()[-1500:]}")

    def answer(self, number: int, name: str, clone: str, chance: random.Random) -> None:
        """Do one thing, and write down which champions it made."""
        from perdure import atomic

        moves = OPERATIONS[name](self.clones.root(clone), number, chance)
        atomic.write_text(self.answers / f"{number}.json", json.dumps(moves))

    def prepare(self) -> None:
        """Three versions, each promoted."""
        from perdure.flows.ingest import ingest
        from perdure.flows.retrain import retrain

        clones = self.clones
        clones.ingest("a", 2, 3)
        retrain.fn(str(clones.root("a")))
        ingest.fn(str(clones.root("b")))  # fetches the data
        events = kit.registry(clones.root("a")).history()
        moves = [one for one in events if one.action in ("promoted", "forced", "rolled back")]
        (self.answers / "before.json").write_text(json.dumps(len(moves)))

    def finish(self) -> None:
        """What the next command does: finish what was killed."""
        from perdure.flows import line
        from perdure.flows.ingest import ingest

        for name in ("a", "b", "a"):
            ingest.fn(str(self.clones.root(name)))
        line.settle(kit.registry(self.clones.root("a")))

    def record(self, before: int) -> Record:
        """What stands, read with MLflow's client as it is."""
        from perdure.flows.pending import pending
        from perdure.tasks import experiences
        from perdure.tasks.registry import codec, history

        registry = kit.registry(self.clones.root("a"))
        ws, now = registry.workspace, registry.read()
        experiment = registry.client.call("get_experiment_by_name", f"{kit.MODEL}/history")
        runs, token = [], None
        while True:
            page = registry.client.call(
                "search_runs", [experiment.experiment_id], max_results=1000, page_token=token
            )
            runs += page
            token = page.token
            if not token:
                break
        lines = [
            Line(
                int(run.data.tags[history.SEQUENCE]),
                run.data.tags[codec.PREFIX + "change"],
                codec.event(run.data.tags),
            )
            for run in runs
        ]
        model = registry.client.call("get_registered_model", kit.MODEL)
        return Record(
            lines=tuple(lines),
            count=int(model.tags[codec.EVENTS]),
            aliases={alias: int(number) for alias, number in model.aliases.items()},
            versions=registry.versions(),
            tournament=now.tournament,
            held=frozenset(now.held),
            pending=tuple(one.id for one in pending(ws, now)),
            experiences=tuple(one.id for one in experiences.committed(ws)),
            operations=tuple(self.operations),
            before=before,
        )

    def log(self, number: int) -> Path:
        return self.answers / f"{number}.log"

    def whole(self, what: Callable[[], None]) -> None:
        """Do something in a process of its own, that nobody kills."""
        log = self.answers / f"{what.__name__}.log"
        code = os.waitstatus_to_exitcode(os.waitpid(self.fork(what, log), 0)[1])
        if code:
            raise AssertionError(log.read_text())

    def fork(self, what: Callable[[], None], log: Path) -> int:
        """Do something in a fork; its exit code is that of the command line."""
        from perdure.errors import PerdureError

        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            output = os.open(log, os.O_WRONLY | os.O_CREAT)
            os.dup2(output, 1)
            os.dup2(output, 2)
            what()
            code = 0
        except PerdureError as error:
            print(type(error).__name__, error)
            code = error.exit_code
        except BaseException:  # noqa: BLE001 - told to the parent, whatever it is
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


Moves = list[tuple[int, int | None]]


def _promote(root: Path, _number: int, chance: random.Random) -> Moves:
    from perdure.flows.promote import promote

    there = [one.version for one in kit.registry(root).versions()]
    done = promote.fn(
        str(root), version=chance.choice(there), force=True, reason="at random", wait=PATIENCE_S
    )
    return [(done.version, done.replaced)] if done.changed else []


def _rollback(root: Path, _number: int, chance: random.Random) -> Moves:
    from perdure.flows.rollback import rollback

    to = None
    if chance.random() < 0.4:
        to = chance.choice([one.version for one in kit.registry(root).versions()])
    keep = chance.random() < 0.5
    done = rollback.fn(str(root), to=to, keep_data=keep, wait=PATIENCE_S)
    return [(done.version, done.replaced)] if done.changed else []


def _ingest(root: Path, number: int, _chance: random.Random) -> Moves:
    from perdure.flows.ingest import ingest

    part = root / "inbox" / f".{number}.csv"
    part.write_text(kit.table(100 + number), encoding="utf-8")
    part.rename(part.with_name(f"{number}.csv"))
    ingest.fn(str(root))
    return []


def _retrain(root: Path, _number: int, _chance: random.Random) -> Moves:
    from perdure.flows.retrain import retrain

    found: Moves = []
    for one in retrain.fn(str(root), wait=PATIENCE_S).learned:
        if one.promoted and one.version is not None:
            found.append((one.version, ANY))
        elif one.verdict == "postponed" and one.arrival and one.arrival.version is not None:
            found.append((one.arrival.version, ANY))
    return found


OPERATIONS: dict[str, Callable[[Path, int, random.Random], Moves]] = {
    "promote": _promote,
    "rollback": _rollback,
    "ingest": _ingest,
    "retrain": _retrain,
}


def crowd(folder: Path, uri: str | None, seed: int, processes: int, seconds: float) -> list[str]:
    """One run; prints how the processes ended."""
    one = Crowd(folder, uri, seed)
    found = one.run(processes, seconds)
    print(f"{sum(one.codes.values())} processes: {dict(sorted(one.codes.items()))}", flush=True)
    return found


def main() -> None:
    """One run by the command line's options; exit 1: something is wrong."""
    parser = argparse.ArgumentParser("python -m tests.soak.crowd")
    parser.add_argument("--processes", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--registry", choices=("sqlite", "server"), default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        # OpenMP's threads do not come along into a fork, and it reads this when torch is imported.
        again = [sys.executable, "-m", "tests.soak.crowd", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "OMP_NUM_THREADS": "1"})
    from tests.promises import scenarios

    with tempfile.TemporaryDirectory(prefix="perdure-crowd-") as name, ExitStack() as stack:
        folder, uri = Path(name), None
        if asked.registry == "server":
            uri = stack.enter_context(_server(folder))
        scenarios.warm(folder / "warm")
        found = crowd(folder / "crowd", uri, asked.seed, asked.processes, asked.seconds)
    print("\n".join(found) or "The history is one that they could have made one by one.")
    sys.exit(bool(found))


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """An MLflow server that asks for a password; the environment has it."""
    if importlib.util.find_spec("flask_wtf") is None:  # MLflow would say so in its log alone
        raise SystemExit("an MLflow server with passwords needs: pip install flask-wtf")
    os.environ |= passwords(folder)
    server = Server(folder, more=("--app-name", "basic-auth"))
    try:
        server.wait()
        yield server.uri
    finally:
        server.stop()


if __name__ == "__main__":
    main()
