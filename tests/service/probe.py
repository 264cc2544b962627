"""A flow that tells what its process got, for the tests of workers."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

from perdure.orchestration.engine import flow
from perdure.workspace import root_of

PRELOAD = "tests.service.light_preload"
"""What the forkserver of a worker imports that runs no other flow."""


@flow(name="probe", flow_run_name="probe")
def probe(
    workspace: str = ".",
    say: str = "said",
    sleep: float = 0.0,
    megabytes: int = 0,
    stubborn: bool = False,
) -> str:
    """Write what this process is into the workspace.

    Args:
        workspace: Folder of the workspace.
        say: Name of the file.
        sleep: Seconds to go on for.
        megabytes: Memory to take.
        stubborn: Do not obey SIGTERM.
    """
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    root = root_of(workspace)
    result = {
        "pid": os.getpid(),
        "nice": os.nice(0),
        "memory": resource.getrlimit(resource.RLIMIT_DATA)[0],
        "environment": dict(os.environ),
        "folder": str(Path.cwd()),
        "parent": os.getppid(),
        "preloaded": PRELOAD in sys.modules,
    }
    part = root / f".{say}"
    part.write_text(json.dumps(result))
    part.replace(Path(root / say))
    taken = bytearray(megabytes * 10**6)
    time.sleep(sleep)
    return f"{len(taken)}"
