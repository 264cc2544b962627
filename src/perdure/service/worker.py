"""A worker of a workspace: takes its model's flow runs from a pool, each into a process.

The program `python -P -m perdure.service.worker --pool POOL`, in an environment that names the
workspace (`PERDURE_WORKSPACE`) and Prefect's API, works until it gets SIGTERM or SIGINT, and with
`--of-up` until its standard input ends. Then it takes its flow runs with it, in 5 s at most. Where
no GPU is free, or the pool is for another kind of worker, it waits.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, get_args

from perdure import blocked, parent
from perdure.backoff import Backoff
from perdure.config import Workspace, read
from perdure.config.unattended import MOST_PER_GPU
from perdure.errors import UsageError
from perdure.orchestration import names, registry_identity
from perdure.orchestration.names import Pool
from perdure.quick_exit import quick_exit
from perdure.service import gpus, tracebacks
from perdure.workspace import WORKSPACE, open_workspace, root_of

if TYPE_CHECKING:
    from perdure.service.pool_worker import Worker

logger = logging.getLogger("perdure")

AT_A_TIME = 3
"""Flow runs of one worker without GPUs.

A rollback must not wait for a retraining: each takes the model's lock, and says who holds it.
"""

HEARTBEAT_S = 30
"""How often a flow run says that it lives: Prefect's least."""

ENVIRONMENT = {
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    # None before their time: they would only wait in a process that has imported everything.
    "PREFECT_WORKER_PREFETCH_SECONDS": "0",
    "PREFECT_WORKER_ENABLE_CANCELLATION": "true",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
    # Nothing of a flow run is kept as a pickle (promise 7).
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    "PREFECT_RUNNER_AUTO_INSTALL_DEPENDENCIES": "false",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as nvidia-smi counts the GPUs
}
"""Prefect's settings of a worker and its flow runs; what the user has set stays as it is."""

GOODBYE_S = 2.5
"""How long flow runs may take to end before they are killed.

They report to Prefect that they were ended. For one that is killed the worker reports it,
or the watcher of the next `perdure up`, and the work is picked up again either way.
"""

TELL_S = 1.0
"""How long it may then take to report those that were killed."""

STOP_S = 1.0
"""How long Prefect's worker may take after that to say that it is gone."""

LOOK_S = 15.0
"""How often a worker looks whether its pool is of its type by now."""

LOOK_FOR_GPUS_S = 60.0
"""How often it looks for a GPU on a machine without: a driver may be loaded late."""


def environment(ws: Workspace, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker's process.

    Args:
        ws: Its workspace.
        inherited: The environment to start from.
    """
    here = str(Path(sys.executable).parent)
    path = inherited.get("PATH", os.defpath)
    if path.split(os.pathsep)[0] != here:
        path = os.pathsep.join([here, path])
    return {**ENVIRONMENT, **inherited, WORKSPACE: str(ws.root), "PATH": path}


def work(workspace: str, pool: Pool, chosen: str | None, per_gpu: int | None) -> NoReturn:
    """`perdure worker`: become a worker of this machine, until Ctrl-C.

    Raises:
        UsageError: No GPU is visible; there is no Prefect server; or options that do not fit.
    """
    if pool == "cpu" and (chosen is not None or per_gpu is not None):
        raise UsageError("--gpus and --per-gpu belong to the pool gpu", hint="--pool gpu")
    if per_gpu is not None and per_gpu > MOST_PER_GPU:
        raise UsageError(f"--per-gpu {per_gpu}: a GPU has {MOST_PER_GPU} shares at most")
    ws = open_workspace(workspace)
    program = [sys.executable, "-P", "-m", "perdure.service.worker", "--pool", pool]
    if pool == "gpu":
        program += ["--gpus", ",".join(gpus.visible(chosen, os.environ))]
    if per_gpu is not None:
        program += ["--per-gpu", str(per_gpu)]
    wanted = environment(ws, os.environ)
    if "PREFECT_API_URL" not in wanted:
        from perdure.orchestration import api, configured_server  # Prefect

        wanted["PREFECT_API_URL"] = address = api.address(ws)
        if (secret := configured_server.access(address).get("api.auth_string")) is not None:
            wanted["PREFECT_API_AUTH_STRING"] = secret
    os.execve(sys.executable, program, wanted)


def main(arguments: list[str] | None = None) -> None:
    """The program of one worker."""
    parser = argparse.ArgumentParser(prog="perdure.service.worker")
    parser.add_argument("--pool", choices=get_args(Pool), required=True)
    parser.add_argument("--gpus")
    parser.add_argument("--per-gpu", type=int)
    parser.add_argument("--of-up", action="store_true")
    given = parser.parse_args(arguments)

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    tracebacks.keep_out()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    ws = read(root_of("."))
    os.environ.update(environment(ws, os.environ))  # before Prefect reads it
    if given.of_up:
        parent.end_with()
    shares = _shares(ws, given.gpus, given.per_gpu) if given.pool == "gpu" else None
    blocked.until_none(lambda: _lacks(ws, given.pool), LOOK_S)
    asyncio.run(_until_ended(ws, given.pool, shares))
    quick_exit(0)


def _shares(ws: Workspace, chosen: str | None, per_gpu: int | None) -> gpus.Shares:
    """The GPUs of this machine, once there is one.

    With `--per-gpu`, so many flow runs share each; without, one has it, beside
    those of other workspaces as `resources.per_gpu` says. A run has as many as there are processes
    that learn together.
    """
    found: tuple[str, ...] = ()
    processes = ws.config.resources.processes if ws.config.training.device != "cpu" else 1

    def lacks() -> str | None:
        nonlocal found
        try:
            found = gpus.visible(chosen, os.environ)
        except UsageError as error:
            return f"{error.message}, and runs of the pool gpu are for a worker elsewhere"
        if processes != "gpus" and processes > len(found):
            return (
                f"resources.processes = {processes}, and of as many GPUs this worker has "
                f"{len(found)}: {', '.join(found)}"
            )
        return None

    blocked.until_none(lacks, LOOK_FOR_GPUS_S)
    together = len(found) if processes == "gpus" else processes
    return gpus.Shares(found, per_gpu or ws.config.resources.per_gpu, per_gpu or 1, together)


def _lacks(ws: Workspace, pool: Pool) -> str | None:
    from perdure.orchestration import pools  # Prefect, now that all is set

    return pools.of_others(ws, pool)


async def _until_ended(ws: Workspace, pool: Pool, shares: gpus.Shares | None) -> None:
    """Work until a signal comes: with another of Prefect's workers where one is of no more use."""
    from perdure.service.forkserver import Forkserver
    from perdure.service.pool_worker import Worker

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    forkserver, backoff = Forkserver(), Backoff()
    model = ws.config.model.name
    while not ended.is_set():
        worker = Worker(
            forkserver,
            shares,
            work_pool_name=pool,
            work_queues=[names.queue(model, registry_identity.shared(ws))],
            name=f"{names.slug(model)} {pool} {socket.gethostname()} {os.getpid()}",
            limit=AT_A_TIME if shares is None else shares.runs,
        )
        began = loop.time()
        if await _work(worker, ended):
            pause = backoff.after(loop.time() - began)
            logger.warning("The worker ended; it starts again in %g s.", pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), pause)
    await forkserver.end()


async def _work(worker: Worker, ended: asyncio.Event) -> bool:
    """Have one of Prefect's workers work until it is to end, or is outdated.

    Returns:
        Whether it ended by itself.
    """
    working = asyncio.create_task(worker.start(printer=lambda text: logger.info("%s", text)))
    waits = [asyncio.create_task(one.wait()) for one in (ended, worker.outdated)]
    await asyncio.wait({working, *waits}, return_when=asyncio.FIRST_COMPLETED)
    for one in waits:
        one.cancel()
    worker.leaving = True
    if ended.is_set():
        _end_in(GOODBYE_S + TELL_S + STOP_S)
    await _see_off(worker)
    if working.done():
        if (error := working.exception()) is not None:
            logger.error("Prefect's worker failed: %r", error, exc_info=error)
        return True
    working.cancel()
    await asyncio.wait({working}, timeout=STOP_S)
    return False


async def _see_off(worker: Worker) -> None:
    """Ask this worker's flow runs to end, and kill what does not."""
    if not await _ended(worker, GOODBYE_S, kill=False):
        logger.warning("%d flow runs did not end in %g s; killed.", worker.running, GOODBYE_S)
        await _ended(worker, TELL_S, kill=True)


async def _ended(worker: Worker, limit_s: float, *, kill: bool) -> bool:
    """End the flow runs, also those whose process is only now being started."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    asked: set[str] = set()
    while worker.running or worker.runs:
        if loop.time() > deadline:
            return False
        for identifier, run in worker.runs.items():
            if identifier not in asked:
                asked.add(identifier)
                run.kill() if kill else run.terminate()
        await asyncio.sleep(0.1)
    return True


def _end_in(limit_s: float) -> None:
    """End this process after a while, whatever Prefect's threads still wait for."""
    last = threading.Timer(limit_s, os._exit, (1,))  # a lost log line at most
    last.daemon = True
    last.start()


if __name__ == "__main__":
    main()
