"""The process of one flow run of a worker: `python -P -m perdure.flows.service.job`.

It takes no more of the machine than `[resources]` allows, ends when its worker is gone, and is
`python -m prefect.engine` otherwise.
"""

from __future__ import annotations

import os
import resource
import runpy
import signal
import threading
import time
import warnings

from perdure.config import ResourcesConfig, read
from perdure.errors import PerdureError
from perdure.flows.service import alive, slots
from perdure.flows.service.memory import BOUND
from perdure.flows.workspace import root_of

WATCH_S = 1.0
"""How often it is asked whether the worker is still there."""

LAST_WORDS_S = 2.5
"""How long a run may take to say that it was ended."""

MODULE = "perdure.flows.service.job"

WORKER = "PERDURE_WORKER"
"""Environment variable: the process id of the worker, where it is on this machine."""


def main() -> None:
    """Run the flow run that Prefect's environment variables name."""
    threading.Thread(target=_end_with_worker, args=(os.getppid(),), daemon=True).start()
    root = root_of(".")
    alive.hold_from_environment(root)  # from here on, and not only once Prefect is imported
    try:
        wanted = read(root).config.resources
    except PerdureError:  # the flow itself will say what is wrong with the workspace
        wanted = ResourcesConfig()
    bound(wanted)
    slots.instead_of_prefects()
    # A fork of the warm process has imported it already.
    warnings.filterwarnings("ignore", "'prefect.engine' found in sys.modules", RuntimeWarning)
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


def bound(wanted: ResourcesConfig) -> None:
    """Apply `[resources]` to this process."""
    if (more := wanted.nice - os.nice(0)) > 0:
        os.nice(more)
    if wanted.memory is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        least = wanted.memory if hard == resource.RLIM_INFINITY else min(wanted.memory, hard)
        # Private memory alone: not the files that are mapped, nor what CUDA reserves.
        resource.setrlimit(resource.RLIMIT_DATA, (least, hard))
        os.environ[BOUND] = str(least)


def _end_with_worker(parent: int) -> None:
    """A flow run whose worker was killed must not go on beside the one that takes its place."""
    if WORKER not in os.environ:  # in a container, which ends as a whole
        return
    if _lives(int(os.environ[WORKER])):  # else it died before we looked
        while os.getppid() == parent:
            time.sleep(WATCH_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LAST_WORDS_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    main()
