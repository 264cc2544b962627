"""Prefect's server for `perdure up`, on a machine where none is configured.

The program `python -P -m perdure.service.server DATABASE PORT` serves Prefect's own app
with its pages and all its services on loopback, and ends when its standard input ends. Once it
answers, it writes the API's address to standard output. Killed at any time, it starts again on
the same database and port.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from perdure import parent
from perdure.orchestration import sqlite_server
from perdure.service import door

SERVER_SETTINGS: dict[str, Any] = {
    # Sends data out, and on a new database fails with "database is locked".
    "server.analytics_enabled": False,
    "server.ui.show_promotional_content": False,
    "server.logging_level": "WARNING",
    # A server for months: what is old goes, runs after 90 days (Prefect's
    # default), events after 14 (default: 7).
    "server.services.db_vacuum.enabled": "events,flow_runs",
    "server.events.retention_period": timedelta(days=14),
    # A late scheduled run is one that no worker took; these loops are for many deployments.
    "server.services.late_runs.loop_seconds": 15.0,
    "server.services.pause_expirations.loop_seconds": 30.0,
    "server.services.cancellation_cleanup.loop_seconds": 30.0,
}
"""Where the user has not set them."""


def main(database: Path, port: int) -> None:
    """Serve until standard input ends.

    Args:
        database: An SQLite file, made where it is missing. A database that the user has set
            for Prefect's server is taken instead.
        port: Of 127.0.0.1; 0 for any that is free.
    """
    announce_fd = sqlite_server.own_stdout()
    listener = sqlite_server.listen(port)
    parent.end_with()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"

    from prefect.settings import temporary_settings

    with ExitStack() as starting:
        found = starting.enter_context(sqlite_server.prepared(database))
        started = starting.pop_all()

    def app() -> Any:
        from prefect.server.api.server import create_app
        from prefect.settings import get_current_settings

        secret = get_current_settings().server.api.auth_string
        return door.guarded(
            create_app(final=True),
            database.absolute().parent,
            secret.get_secret_value() if secret is not None else None,
        )

    def ready() -> None:
        found.keep_as_template()
        started.close()
        os.write(announce_fd, f"{address}/api\n".encode())

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
        "server.api.cors_allowed_origins": address,
    }
    if not os.access(prefect.__ui_static_subpath__.parent, os.W_OK):
        # Prefect copies its pages to where they are served from, else into its own package.
        settings["server.ui.static_directory"] = str(database.absolute().parent / "pages")
    return settings


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
