"""`perdure up` with parts of the test's own: a process that can be killed like the real one.

    python -m tests.service.up.driver ROOT FACTOR [nohup]

runs what `ROOT/parts.json` says; the pauses between two starts are FACTOR times the real ones.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from perdure import running
from perdure.backoff import Backoff
from perdure.errors import PerdureError
from perdure.running import Running
from perdure.service.managed_process import Part
from perdure.service.supervisor import Supervisor


def main(root: Path, factor: float) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if "nohup" not in sys.argv:  # whatever the tests themselves run under
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    state = root / ".perdure"
    parts = tuple(
        Part(**_with_tuples(part)) for part in json.loads((root / "parts.json").read_text())
    )
    record = Running(
        os.getpid(), socket.gethostname(), "2026-01-01T00:00:00+00:00", "starting",
        "http://127.0.0.1:9/api", "http://127.0.0.1:9", "nowhere", (),
    )  # fmt: skip
    try:
        with running.hold(state):
            supervisor = Supervisor(
                parts, record, state, root, lambda: Backoff(factor, 60 * factor)
            )
            supervisor.run(lambda now: say(f"READY {now.pid}"))
    except PerdureError as error:
        say(f"FAILED {error}")
        sys.exit(error.exit_code)


def _with_tuples(part: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(one) if isinstance(one, list) else one for key, one in part.items()}


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
