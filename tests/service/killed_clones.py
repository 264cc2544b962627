"""Kills an ingest of one clone, at every kind of moment, while another clone published first.

    python -m tests.service.killed_clones FOLDER CASES

`tests.promises.killing` forks a child for each case, and counts its points. The other clone's
commit appears on the remote after the first look there: so the push is refused, what is new steps
aside, comes back with other numbers, and is published after that. Writes `FOLDER/result.json`.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

from perdure.tasks import experiences
from perdure.tasks.tables import content
from tests.promises import kit
from tests.promises.killing import SEED, Driver, spread
from tests.service import clones

HIDDEN = "refs/heads/theirs"


def prepare(folder: Path) -> None:
    """`a` has published one file of its own and one that `b` has too, where nobody looks yet."""
    both = clones.Clones(folder)
    kit.arrive(both.root("a"), "few-1.csv", kit.few(7))
    both.ingest("a")
    kit.arrive(both.root("a"), "small-1.csv", kit.table(10, 12))
    both.ingest("a")
    before = both.head("a")
    kit.arrive(both.root("a"), "few-2.csv", kit.few(8))
    kit.arrive(both.root("a"), "1-small.csv", kit.table(11, 20))  # joins small-1.csv
    both.ingest("a", 2, 3)
    kit.git(both.bare, "update-ref", HIDDEN, both.head("a"))
    kit.git(both.bare, "update-ref", "refs/heads/main", before)
    both.ingest("b")  # an empty inbox: it fetches the data
    # It joins small-1.csv too, and waits again when that is in an experience of the other's.
    kit.arrive(both.root("b"), "0-small.csv", kit.table(12, 20))
    both.arrive("b", 3, 4, 5)
    # In both clones it is the file with which the class of few-1.csv has enough rows.
    kit.arrive(both.root("b"), "few-3.csv", kit.few(9))
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
    known = experiences.committed(ws)
    small = experiences.waiting_files(ws, known)
    frames = [experiences.read_experience(ws, e.id, content.content_sha256) for e in known]
    frames += [experiences.read_waiting(one, content.content_sha256) for one in small]
    rows = [str(row) for frame in frames for row in frame.itertuples(index=False)]
    # Where a kill lets it wait before 4.csv is there, that takes it along.
    sources = [[file.name for file in one.files] for one in known]
    names = [name for of_one in sources for name in of_one]
    return {
        "sources": sorted([*names, *(one.file.name for one in small)]),
        "rows": [len(rows), len(set(rows))],
        "numbers": clones.numbers(history[-1]),
        "theirs first": sources[:6],
        "rows of the new class": len(kit.rows_of(both.root("b"), "maybe")),
        "each once": len({value for _, value in kit.rows_of(both.root("b"), "maybe")}),
        "grows": clones.only_grows(history),
        "same": sorted(history[-1]) == sorted(n for n in clones.files_of(ws) if "experi" in n),
        "quarantined": len(list(ws.quarantine.iterdir())),
        "left": both.left("b"),
        "inbox": sorted(path.name for path in ws.inbox.iterdir()),
        "published": both.head("b") == kit.git(both.bare, "rev-parse", "main").strip(),
    }


def main(base: Path, cases: int) -> None:
    driver = Driver(base, picture)
    prepare(driver.root)
    driver.root.rename(driver.template)
    driver.restore()
    wanted, names = driver.through(command)
    result = {
        "done": wanted,
        "names": names,
        "cases": [
            driver.case(command, wanted, [at]) | {"name": names[at - 1]}
            for at in spread(random.Random(f"{SEED} clones"), len(names), cases)
        ],
    }
    (base / "result.json").write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main(Path(sys.argv[1]), int(sys.argv[2]))
