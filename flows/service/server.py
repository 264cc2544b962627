"""Prefect's server for `perdure up`, on a machine where none is configured.

The program `python -P -m perdure.flows.service.server DATABASE PORT` serves Prefect's own app
with its pages and all its services on loopback, and ends when its standard input ends. Once it
answers, it writes the API's address to standard output. Killed at any time, it starts again on
the same database and port.
"""

from __future__ import annotations

import functools
import os
import sys
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from perdure import parent
from perdure.flows import sqlite_server

SERVER_SETTINGS: dict[str, Any] = {
    # Sends data out, and on a new database fails with "database is locked".
    "server.analytics_enabled": False,
    "server.ui.show_promotional_content": False,
    "server.logging_level": "WARNING",
    # In memory, a lease that is held while the server restarts keeps its slot for ever.
    "server.concurrency.lease_storage": "perdure.flows.service.leases",
    # How long the slot of a deployment stays taken after its flow run was killed, at most.
    "server.concurrency.initial_deployment_lease_duration": 60.0,
    # A server for months: what nobody looks at any more goes, runs after 90 days (Prefect's
    # default), events after 14 (default: 7).
    "server.services.db_vacuum.enabled": "events,flow_runs",
    "server.events.retention_period": timedelta(days=14),
    # A late scheduled run is one that no worker took; these loops are for many deployments.
    "server.services.late_runs.loop_seconds": 15.0,
    "server.services.pause_expirations.loop_seconds": 30.0,
    "server.services.cancellation_cleanup.loop_seconds": 30.0,
}
"""Where the user has not set them."""

TASK_QUEUE_CHECK_S = 1.0
"""How often the server's own queue of small tasks (docket) is looked at; default 0.25 s.

On the queue in memory each look runs Lua scripts, and four a second cost most of the idle time.
"""


def _look_less_often() -> None:
    from docket import Worker
    from prefect.server.api import background_workers

    often = timedelta(seconds=TASK_QUEUE_CHECK_S)
    worker = functools.partial(Worker, minimum_check_interval=often, scheduling_resolution=often)
    vars(background_workers).update(Worker=worker)


def leases(database: Path) -> Path:
    """The folder of the concurrency leases, beside the database."""
    return database.absolute().parent / "leases"


def _unlock(folder: Path) -> None:
    """Remove what a killed server has left among its leases: nobody else uses them.

    Prefect's lock there is a file with a process id. It waits, without end and with the database's
    connection, while there is a process of that id: after a reboot, or in a container, where ids
    come again, that is somebody else, or itself (Prefect 3.8).
    """
    for pattern in ("expirations.lock", ".lock_*", ".lease_*"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def main(database: Path, port: int) -> None:
    """Serve until standard input ends.

    Args:
        database: An SQLite file, made where it is missing. A database that the user has set
            for Prefect's server is taken instead.
        port: Of 127.0.0.1; 0 for any that is free.
    """
    said = sqlite_server.own_stdout()
    listener = sqlite_server.listen(port)
    parent.end_with()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    os.environ["PERDURE_PREFECT_LEASES"] = str(leases(database))  # leases.FOLDER

    from prefect.settings import temporary_settings

    with ExitStack() as starting:
        found = starting.enter_context(sqlite_server.prepared(database))
        _unlock(leases(database))
        started = starting.pop_all()

    def app() -> Any:
        _look_less_often()
        from prefect.server.api.server import create_app

        return create_app(final=True)

    def ready() -> None:
        found.keep_as_template()
        started.close()
        os.write(said, f"{address}/api\n".encode())

    updates = {**found.updates, **_own(address, database)}
    with started, temporary_settings(updates=updates, set_defaults=SERVER_SETTINGS):
        sqlite_server.serve(app, found, listener, ready, watched=True)


def _own(address: str, database: Path) -> dict[str, Any]:
    """What the server must know of itself, whatever the user has set for his clients."""
    import prefect

    settings: dict[str, Any] = {
        "api.url": None,  # the server is no client of another one
        "server.api.host": "127.0.0.1",
        "server.api.port": int(address.rsplit(":", 1)[1]),
        "server.ui.api_url": f"{address}/api",
    }
    if not os.access(prefect.__ui_static_subpath__.parent, os.W_OK):
        # Prefect copies its pages to where they are served from, else into its own package.
        settings["server.ui.static_directory"] = str(database.absolute().parent / "pages")
    return settings


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
