"""`perdure up`: which processes a workspace needs on this machine, and running them."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from perdure import config, running, server_secret
from perdure.config import Workspace
from perdure.errors import PerdureError
from perdure.running import Running
from perdure.secrets import without_secrets
from perdure.service import external_servers, ports, process_group
from perdure.service.external_servers import Server
from perdure.service.managed_process import Part
from perdure.service.part_log import Log
from perdure.service.supervisor import Supervisor, module
from perdure.workspace import root_of

LOG = "up"
"""The name of the supervisor's own log, among those of the parts."""

logger = logging.getLogger("perdure")


@dataclass(frozen=True)
class Plan:
    """What is to run for a workspace."""

    parts: tuple[Part, ...]
    external: tuple[Server, ...]
    """Servers that are used instead of a part, and are asked before anything is started."""
    record: Running


def run(root: Path, ready: Callable[[Running], None]) -> None:
    """Run everything that a workspace needs on this machine, until SIGINT or SIGTERM.

    Args:
        root: The workspace.
        ready: Called once, when everything is.

    Raises:
        UsageError: There is no workspace, or its configuration is wrong.
        LockHeld: It runs already.
        Unreachable: A server that is configured does not answer; nothing was started.
        Fault: A part could not be started; everything that had been started is ended.
    """
    ws = config.read(root_of(str(root)))
    with running.hold(ws.state), _logged(ws.state):
        _end_leftovers(running.folder(ws.state))
        wanted = plan(ws)
        for server in wanted.external:
            logger.info("%s is used, as configured: %s", server.name, server.shown)
            server.ask()
        logger.info("Starting %s …", ", ".join(part.name for part in wanted.parts))
        Supervisor(wanted.parts, wanted.record, ws.state, ws.root).run(ready)


def plan(ws: Workspace) -> Plan:
    """Plan what a workspace needs on this machine.

    Raises:
        ConfigError: Prefect cannot read its settings.
        OSError: The secret of its server cannot be written.
    """
    folder = running.folder(ws.state)
    prefect = external_servers.prefect(ws.root)
    mlflow = external_servers.mlflow(ws.tracking_uri)
    external = [server for server in (prefect, mlflow) if server is not None]
    own = [name for name, there in (("server", prefect), ("mlflow", mlflow)) if there is None]
    port = ports.choose(folder, own)
    api = prefect.address if prefect else f"http://{ports.HOST}:{port['server']}/api"
    pages = mlflow.shown if mlflow else f"http://{ports.HOST}:{port['mlflow']}"
    environment = {
        "PERDURE_WORKSPACE": str(ws.root),
        "PREFECT_API_URL": api,
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }
    parts = []
    needs: tuple[str, ...] = ()
    if prefect is None:
        secret = server_secret.make(ws.state)
        environment["PREFECT_API_AUTH_STRING"] = secret
        command = module("perdure.service.server", str(folder / "prefect.db"), str(port["server"]))
        asks = {**environment, "PREFECT_SERVER_API_AUTH_STRING": secret}
        parts.append(Part("server", command, asks, address=f"{api}/health"))
        needs = ("server",)
    if mlflow is None:
        command = module("perdure.tasks.registry.website", str(ws.root), str(port["mlflow"]))
        parts.append(Part("mlflow", command, environment, address=f"{pages}/health"))
    command = module("perdure", "deploy", "--workspace", str(ws.root))
    parts.append(Part("deploy", command, environment, needs, once=True))
    command = module("perdure.service.watch")
    parts.append(Part("watcher", command, environment, needs, says="Watching "))
    pools = {"worker": "cpu"}
    if ws.config.resources.pool == "gpu":
        pools["worker-gpu"] = "gpu"
    for name, pool in pools.items():
        command = module("perdure.service.worker", "--pool", pool, "--of-up")
        # Prefect's worker says "Worker 'NAME' started!". At its end it first lets its flow runs
        # end, which report it to the server.
        part = Part(name, command, environment, needs, says=" started!", grace_s=5.0)
        parts.append(part)
    record = Running(
        pid=os.getpid(),
        host=socket.gethostname(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        state="starting",
        prefect_api=without_secrets(api),
        prefect_page=external_servers.prefect_page(api),
        mlflow=pages,
        parts=(),
    )
    return Plan(tuple(parts), tuple(external), record)


@contextmanager
def _logged(state: Path) -> Iterator[None]:
    """Keep Perdure's own log lines, and what ended it, as the log of a part is kept."""
    log = Log(running.log_path(state, LOG))

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.note(self.format(record))

    notes = Notes(logging.INFO)
    logger.addHandler(notes)
    try:
        yield
    except PerdureError as error:
        log.note(str(error))
        raise
    finally:
        logger.removeHandler(notes)
        log.close()


def _end_leftovers(folder: Path) -> None:
    """End what a `perdure up` left that was killed just now, together with its reaper."""
    ours = process_group.of_folder(folder)
    if left := process_group.alive(ours):
        logger.warning("Ending %d processes that a killed perdure up has left.", len(left))
        process_group.end(ours, 2.0, 10.0)
