"""Promise 9. Nothing leaves the machine unless its owner says so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import perdure
from perdure.telemetry import SWITCHES
from tests.promises.journey import GUARD, Journey

HEAVY = ["prefect", "mlflow", "dvc", "torch", "avalanche", "pandas", "wandb"]


def test_the_guard_sees(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import socket; socket.create_connection(('192.0.2.1', 9), timeout=1)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, "PYTHONPATH": str(GUARD), "GUARD_LOG": str(log)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "nothing may leave this machine" in done.stderr
    assert "outside: socket.connect" in log.read_text() or "getaddrinfo" in log.read_text()


def test_no_process_of_a_whole_journey_tries_to_reach_anything(journey: Journey) -> None:
    processes = [line for line in journey.guard if line.startswith("process:")]
    assert len(processes) >= len(journey.results)
    assert [line for line in journey.guard if line.startswith("outside:")] == []
    codes = {name: result.code for name, result in journey.results.items()}
    assert codes == {
        "init": 0, "ingest": 3, "retrain": 0, "rollback": 0,
        "status": 0, "status in words": 0, "nothing to do": 0,
    }, {name: result.err for name, result in journey.results.items()}  # fmt: skip
    # It was the whole way, Prefect's temporary server included.
    assert (journey.root / ".perdure" / "prefect.db").exists()


def test_nothing_is_imported_under_a_bare_name(journey: Journey) -> None:
    """`flows`, `tasks` and `strategies` at the top are anybody's."""
    assert [line for line in journey.guard if line.startswith("bare:")] == []
    assert not {"flows", "tasks", "strategies"} & set(sys.modules)


def test_the_switches_are_set_before_any_library_is_imported() -> None:
    code = (
        "import os, sys, json, perdure, perdure.telemetry;"
        f"print(json.dumps([[m for m in {HEAVY} if m in sys.modules],"
        "{n: os.environ.get(n) for n in perdure.telemetry.SWITCHES}]))"
    )
    clean = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True
    )
    import json

    imported, found = json.loads(done.stdout)
    assert imported == []
    assert found == SWITCHES
    assert len(SWITCHES) >= 5


def test_a_switch_that_the_user_has_set_stays(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    perdure.telemetry.switch_off()
    assert os.environ["DO_NOT_TRACK"] == "0"


def test_no_module_of_ours_binds_to_every_interface() -> None:
    repository = Path(__file__).parents[2]
    rooms = ("flows", "tasks", "strategies", "src/perdure")
    files = sorted({path for room in rooms for path in (repository / room).rglob("*.py")})
    assert len(files) > 60
    found = [str(p) for p in files if re.search(r"0\.0\.0\.0|['\"]::['\"]", p.read_text())]
    assert found == []
