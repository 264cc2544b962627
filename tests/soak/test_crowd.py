"""A small crowd; `make soak` has one of fifty processes, also through an MLflow server."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.timeout(600)
def test_what_eight_processes_at_a_time_leave_could_have_been_done_one_by_one() -> None:
    """In a process of its own: it forks without threads."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak.crowd", "--processes", "8", "--seconds", "20"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ended: dict[str, int] = ast.literal_eval(done.stdout.partition(": ")[2].splitlines()[0])
    assert any(what.endswith("killed") for what in ended)
    assert sum(ended.get(f"{name} 0", 0) for name in ("promote", "rollback")) > 0
