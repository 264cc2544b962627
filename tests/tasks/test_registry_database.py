"""MLflow's SQLite file is made whole or not at all, whenever its maker is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MAKES = """
import json, os, signal, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
import mlflow.store.db.utils
from mlflow.tracking.client import MlflowClient
from perdure.tasks.registry import client

folder, whole = Path(sys.argv[1]), sys.argv[2] == "whole"
if not whole:  # as MLflow itself does it
    client._make = lambda path: None
steps, last = 0, None

@event.listens_for(Engine, "before_cursor_execute")
def count(*_):
    global steps
    steps += 1
    if steps == last:
        os.kill(os.getpid(), signal.SIGKILL)

def connect(name):
    client.Client(f"sqlite:///{folder / name}").call("search_registered_models")

def forked(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except Exception as error:
            os.write(2, f"{type(error).__name__}: {error}\\n".encode())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

connect("first.db")
every, found = steps, []
for last in [every * part // 5 for part in range(1, 5)]:
    steps = 0
    killed = forked(lambda: connect(f"{last}.db"))
    point, last = last, None
    found.append((killed, forked(lambda: connect(f"{point}.db"))))
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["whole", "in place"])
def test_killed_while_it_is_made(how: str, tmp_path: Path) -> None:
    program = [sys.executable, "-W", "ignore", "-c", MAKES, str(tmp_path), how]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [killed for killed, _ in found] == [-9] * 4
    afterwards = [code for _, code in found]
    if how == "whole":
        assert afterwards == [0] * 4
        assert [path.name for path in tmp_path.glob(".*")] == []
    else:  # which is why
        assert 1 in afterwards
        assert "already exists" in done.stderr
