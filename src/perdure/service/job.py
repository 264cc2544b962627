"""The process of one flow run.

A worker of ours starts it by `run`, as a fork; Prefect's own workers, in a container or elsewhere,
start it as `python -P -m perdure.service.job`. It takes no more of the machine than `[resources]`
allows, and is `python -m prefect.engine` otherwise.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import runpy
import signal
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path

from perdure.config import ResourcesConfig, read
from perdure.errors import PerdureError
from perdure.orchestration import run_lock
from perdure.orchestration.memory import BOUND
from perdure.quick_exit import quick_exit
from perdure.service import tracebacks
from perdure.service.notify.after import notify_after
from perdure.workspace import root_of

LAST_WORDS_S = 2.5
"""How long a run may take to say that it was ended."""

MODULE = "perdure.service.job"


def run(environment: dict[str, str], folder: str) -> None:
    """Be a flow run, in a fork of the forkserver or in a new process, and end with its worker.

    Args:
        environment: All of its environment.
        folder: Its working directory.
    """
    os.setsid()  # what it starts can be ended with it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with_worker, daemon=True).start()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    _undo_fork()
    sys.argv = [MODULE]
    code: object = 0
    try:
        main(imported=_private_memory())
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        code = 1
    quick_exit(code if isinstance(code, int) else int(code is not None))


def _undo_fork() -> None:
    """Have what the forkserver has imported be as in a process that imports it now."""
    import numpy as np
    from prefect.context import refresh_global_settings_context

    np.random.seed()  # else every fork would draw the same numbers
    refresh_global_settings_context()  # they are read from the environment


def _private_memory() -> int:
    """Bytes of private memory that this process has, most of which it shares with others."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # not Linux: then it is a new process, which has next to none
        return 0
    (line,) = (line for line in status.splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024


def main(imported: int = 0) -> None:
    """Run the flow run that Prefect's environment variables name.

    Args:
        imported: Bytes of memory that it has already, which do not count.
    """
    tracebacks.keep_out()
    root = root_of(".")
    run_lock.hold_from_environment(root)  # from here on, and not only once Prefect is imported
    try:
        wanted = read(root).config.resources
    except PerdureError:  # the flow itself will say what is wrong with the workspace
        wanted = ResourcesConfig()
    bound(wanted, imported)
    # A fork has imported it already.
    warnings.filterwarnings("ignore", "'prefect.engine' found in sys.modules", RuntimeWarning)
    with notify_after("."):
        runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


def bound(wanted: ResourcesConfig, imported: int = 0) -> None:
    """Apply `[resources]` to this process."""
    if (more := wanted.nice - os.nice(0)) > 0:
        os.nice(more)
    if wanted.memory is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = wanted.memory + imported
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        # Private memory alone: not the files that are mapped, nor what CUDA reserves.
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
        os.environ[BOUND] = str(wanted.memory)


def _end_with_worker() -> None:
    """A flow run whose worker was killed must not go on beside the one that takes its place."""
    worker = multiprocessing.parent_process()
    assert worker is not None
    worker.join()  # a pipe that the kernel closes, however the worker ends
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LAST_WORDS_S)
    os.killpg(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
