"""Kills an ingest of one clone, at every kind of moment, while another clone published first.

    python -m tests.flows.service.killed_clones FOLDER CASES

A driver that forks a child for each case, as `tests.promises.killing` does, with its points. The
other clone's commit appears on the remote after the first look there: so the push is refused,
what is new steps aside, comes back with other numbers, and is published after that. Writes
`FOLDER/told.json`.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.flows.service import clones
from tests.promises import kit
from tests.promises.killing import HANGS_S, SEED, Points, spread

HIDDEN = "refs/heads/theirs"


def prepare(folder: Path) -> None:
    """`a` has published one file of its own and one that `b` has too, where nobody looks yet."""
    both = clones.Clones(folder)
    before = both.head("a")
    both.ingest("a", 2, 3)
    kit.git(both.bare, "update-ref", HIDDEN, both.head("a"))
    kit.git(both.bare, "update-ref", "refs/heads/main", before)
    both.ingest("b")  # an empty inbox: it fetches the data
    both.arrive("b", 3, 4, 5)
    kit.arrive(both.root("b"), "bad.csv", kit.partly(6))


def command(folder: Path) -> None:
    """`b` ingests, and is not the first."""
    from perdure.flows import ingest, sharing
    from perdure.tasks import git

    both = clones.Clones(folder)
    update = sharing.update

    def then_theirs(*args: Any, **kwargs: Any) -> dict[str, str]:
        found = update(*args, **kwargs)
        there = kit.git(both.bare, "rev-parse", HIDDEN).strip()
        behind = kit.git(both.bare, "rev-list", "--count", f"{HIDDEN}..main").strip()
        if behind == "0" and git.theirs(both.root("b"), git.branch(both.root("b"), "origin")):
            kit.git(both.bare, "update-ref", "refs/heads/main", there)
        return found

    sharing.update = then_theirs  # in a forked child
    ingest.ingest.fn(str(both.root("b")))


def picture(folder: Path) -> dict[str, Any]:
    """What must be the same, killed or not."""
    both = clones.Clones(folder)
    history = both.published()
    ws = both.ws("b")
    return {
        "sources": sorted(both.sources("b")),
        "numbers": clones.numbers(history[-1]),
        "theirs first": both.sources("b")[:3],
        "grows": clones.only_grows(history),
        "same": sorted(history[-1]) == sorted(n for n in clones.files_of(ws) if "experi" in n),
        "quarantined": len(list(ws.quarantine.iterdir())),
        "left": both.left("b"),
        "inbox": sorted(path.name for path in ws.inbox.iterdir()),
        "published": both.head("b") == kit.git(both.bare, "rev-parse", "main").strip(),
    }


def child(folder: Path, log: Path, run: Callable[[], None], fatal: int | None = None) -> Any:
    """Fork, run, and wait: the exit code, or minus the signal, and the points that it passed."""
    names = folder.parent / "names.json"
    names.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            faulthandler.dump_traceback_later(HANGS_S, exit=True)
            points = Points(folder, fatal)
            points.watch()
            run()
            passed = list(points.names)
            names.write_text(json.dumps(passed), encoding="utf-8")
            code = 0
        except BaseException:  # noqa: BLE001 - told to the driver, whatever it is
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, json.loads(names.read_bytes()) if names.exists() else []


def main(base: Path, cases: int) -> None:
    folder, template, log = base / "work", base / "template", base / "log.txt"
    prepare(folder)
    folder.rename(template)

    def restore() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(template, folder, symlinks=True)

    def through() -> tuple[dict[str, Any] | str, list[str]]:
        code, names = child(folder, log, lambda: command(folder))
        if code:
            return log.read_text(encoding="utf-8")[-3000:], names
        return picture(folder), names

    restore()
    wanted, names = through()
    told: dict[str, Any] = {"done": wanted, "names": names, "cases": []}
    chance = random.Random(f"{SEED} clones")
    for at in spread(chance, len(names), cases):
        restore()
        code, _ = child(folder, log, lambda: command(folder), at)
        found, _ = through()
        told["cases"].append(
            {
                "at": at,
                "name": names[at - 1],
                "killed": code == -signal.SIGKILL,
                "found": found,
            }
        )
    (base / "told.json").write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main(Path(sys.argv[1]), int(sys.argv[2]))
