"""A worker of a workspace: takes its model's flow runs from a pool, each into a process.

The program `python -P -m perdure.flows.service.worker --pool POOL`, in an environment that
names the workspace (`PERDURE_WORKSPACE`) and Prefect's API, works until its standard input
ends or it gets SIGTERM, and then takes its flow runs with it, in 5 s at most. Where others have
its GPU, or the pool is for another kind of worker, it waits.
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
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import psutil

from perdure import parent, waiting
from perdure.config import Workspace, read
from perdure.errors import LockHeld
from perdure.flows.service import gpus, job, names, warm
from perdure.flows.service.names import Pool
from perdure.flows.workspace import WORKSPACE, root_of

if TYPE_CHECKING:
    from perdure.flows.service.process_worker import Worker

logger = logging.getLogger("perdure")

LIMITS: dict[Pool, int] = {"cpu": 3, "gpu": 1}
"""Flow runs of one worker at a time.

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
}
"""Of a worker, and so of its flow runs; what the user has set stays as it is."""

GOODBYE_S = 2.5
"""How long flow runs may take to end before they are killed.

They tell Prefect that they were ended. One that is killed loses nothing: the worker tells it then,
or the watcher of the next `perdure up`, and the work is picked up again either way.
"""

TELL_S = 1.0
"""How long it may then take to tell Prefect of those that were killed."""

STOP_S = 1.0
"""How long Prefect's worker may take after that to say that it is gone."""

LOOK_S = 15.0
"""How often it is looked whether what a worker lacks is there by now."""


def environment(
    ws: Workspace, inherited: Mapping[str, str], gpu: str | None = None
) -> dict[str, str]:
    """The environment of a worker's process.

    Args:
        ws: Its workspace.
        inherited: The environment to start from.
        gpu: The one GPU that its runs see, as `CUDA_VISIBLE_DEVICES` names it.
    """
    here = str(Path(sys.executable).parent)
    path = inherited.get("PATH", os.defpath)
    wanted = {**ENVIRONMENT, **inherited, WORKSPACE: str(ws.root)}
    if path.split(os.pathsep)[0] != here:
        path = os.pathsep.join([here, path])
    wanted["PATH"] = path
    if gpu is not None:
        wanted["CUDA_VISIBLE_DEVICES"] = gpu
        wanted.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    return wanted


def command(pool: Pool, gpu: str | None = None, per_gpu: int = 1) -> list[str]:
    """The program of one worker."""
    options = [] if gpu is None else ["--gpu", gpu, "--per-gpu", str(per_gpu)]
    program = [sys.executable, "-P", "-m", "perdure.flows.service.worker"]
    return [*program, "--pool", pool, *options]


def main(arguments: list[str] | None = None) -> None:
    """The program of one worker; for the pool `gpu` without `--gpu`, of one for each GPU."""
    parser = argparse.ArgumentParser(prog="perdure.flows.service.worker")
    parser.add_argument("--pool", choices=get_args(Pool), required=True)
    parser.add_argument("--gpu")
    parser.add_argument("--per-gpu", type=int)
    given = parser.parse_args(arguments)

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    ws = read(root_of("."))
    if given.pool == "gpu" and given.gpu is None:
        from perdure.flows.service import workers

        workers.run(ws, "gpu", None, given.per_gpu, of_up=True)
        return
    os.environ.update(environment(ws, os.environ, given.gpu))  # before Prefect reads it
    with suppress(PermissionError):  # it leads its group already
        os.setsid()  # its flow runs are told apart from everybody else's processes
    os.environ[job.WORKER] = str(os.getpid())
    name = f"{names.slug(ws.config.model.name)} {given.pool} {socket.gethostname()} {os.getpid()}"
    parent.end_with()
    with ExitStack() as held:
        waiting.until_none(lambda: _lacks(ws, given.pool), LOOK_S)
        waiting.until_none(lambda: _lacks_gpu(held, given.gpu, given.per_gpu or 1), LOOK_S)
        asyncio.run(_until_ended(ws, given.pool, name))
    warm.leave(0)


def _lacks(ws: Workspace, pool: Pool) -> str | None:
    from perdure.flows.service import pools  # Prefect, now that all is set

    return pools.of_others(ws, pool)


def _lacks_gpu(held: ExitStack, gpu: str | None, per_gpu: int) -> str | None:
    """Why there is no GPU for this worker; None: it is held from now on."""
    try:
        held.enter_context(gpus.hold(gpu, per_gpu))
    except LockHeld as error:
        return f"{error.message} → {error.hint}"
    return None


async def _until_ended(ws: Workspace, pool: Pool, name: str) -> None:
    from perdure.flows.service.process_worker import Worker

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    worker = Worker(
        work_pool_name=pool,
        work_queues=[names.queue(ws.config.model.name)],
        name=name,
        limit=LIMITS[pool],
    )
    working = asyncio.create_task(worker.start(printer=lambda text: logger.info("%s", text)))
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        waiting.cancel()
        working.result()  # it does not end by itself: says why
    worker.leaving = True
    _end_in(GOODBYE_S + TELL_S + STOP_S)
    await _see_off(worker)
    working.cancel()
    await asyncio.wait({working}, timeout=STOP_S)


async def _see_off(worker: Worker) -> None:
    """Ask this worker's flow runs to end, and kill what does not."""
    if not await _ended(worker, signal.SIGTERM, GOODBYE_S):
        logger.warning("%d flow runs did not end in %g s; killed.", worker.running, GOODBYE_S)
        await _ended(worker, signal.SIGKILL, TELL_S)


async def _ended(worker: Worker, number: signal.Signals, limit_s: float) -> bool:
    """Send the flow runs a signal, also those whose process is only now being started."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    told: set[psutil.Process] = set()
    while worker.running:
        if loop.time() > deadline:
            return False
        # What a flow run has started it ends by itself, where it is asked to.
        for one in psutil.Process().children(recursive=number == signal.SIGKILL):
            if one not in told:
                told.add(one)
                with suppress(psutil.Error):
                    one.send_signal(number)
        await asyncio.sleep(0.1)
    return True


def _end_in(limit_s: float) -> None:
    """End this process after a while, whatever Prefect's threads still wait for."""
    last = threading.Timer(limit_s, os._exit, (1,))  # a lost log line at most
    last.daemon = True
    last.start()


if __name__ == "__main__":
    main()
