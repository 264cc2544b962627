"""What a user does on the first day, with the real command, one process each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.promises import kit

GUARD = Path(__file__).parent / "guard"


@dataclass(frozen=True)
class Completed:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Journey:
    """The workspace, the commands in order, and what the guard wrote down."""

    root: Path
    results: dict[str, Completed]
    guard: list[str]


def perdure(*arguments: str, cwd: Path, guard: Path | None = None) -> Completed:
    """Run the real command."""
    more = {"GUARD_LOG": str(guard), "PYTHONPATH": str(GUARD)} if guard else {}
    done = subprocess.run(
        [sys.executable, "-m", "perdure", *arguments],
        cwd=cwd,
        env={**os.environ, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return Completed(done.returncode, done.stdout, done.stderr)


def travel(folder: Path) -> Journey:
    """Init, ingest, retrain through Prefect's temporary server, roll back, look around."""
    log = folder / "guard.log"
    log.touch()
    first, root = folder / "first.csv", folder / "workspace"
    first.write_text(kit.table(1, 120), encoding="utf-8")
    result = {}

    def run(name: str, *arguments: str, cwd: Path = root) -> None:
        result[name] = perdure(*arguments, cwd=cwd, guard=log)

    run("init", "init", "workspace", "--data", "first.csv", "--target", "kind", "--name",
        kit.MODEL, "--json", cwd=folder)  # fmt: skip
    kit.configure(root)
    kit.arrive(root, "good.csv", kit.table(2))
    kit.arrive(root, "broken.csv", kit.table(3).replace("a,b,", "a,c,"))
    run("ingest", "ingest", "--json")
    run("retrain", "retrain", "--json")
    run("rollback", "rollback", "--reason", "complaints", "--json")
    run("status", "status", "--json")
    run("status in words", "status")
    run("nothing to do", "ingest")
    return Journey(root, result, log.read_text(encoding="utf-8").splitlines())
