"""Prefect's temporary server, for a retraining on a machine that has no Prefect server.

It is the app that Prefect itself starts when no API is configured, run here because Prefect's
own starter (a) leaves the server behind for ever when its parent is killed, (b) writes every
project's runs into one SQLite file, where two servers lock each other out, and (c) migrates
that file for 5 s whenever it is new. This one ends with its parent, however that ends, has a
database of its own in the workspace, and copies the empty schema from the last time.

The file is also the child's program. Before it knows the settings, it imports nothing of
Prefect's server.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from perdure import parent
from perdure.orchestration import sqlite_server

SERVER_SETTINGS: dict[str, Any] = {
    # Sends data out, and on a new database fails with "database is locked" and keeps the
    # write lock: task runs then wait for SQLite's 60 s busy timeout.
    "server.analytics_enabled": False,
    # There are no automations on a temporary server, or reads its event feed; each of these
    # is one more writer of the same SQLite file. Task runs have a recorder of their own.
    "server.services.event_persister.enabled": False,
    "server.services.triggers.enabled": False,
    "server.services.db_vacuum.enabled": "",
    "server.ui.enabled": False,
    "server.logging_level": "CRITICAL",
}
"""For the temporary server, where the user has not set them."""

START_SECONDS = 120.0
"""How long a start may take, migrations on a slow disk included."""

STOP_SECONDS = 10.0

_servers: dict[Path, TemporaryServer] = {}


def start(database: Path) -> TemporaryServer:
    """The temporary server on a database; started, not waited for, if it does not run yet.

    Args:
        database: An SQLite file, which is made where it is missing. A database that the
            user has set for Prefect's server is taken instead.

    Raises:
        OSError: No process could be started.
    """
    server = _servers.get(database)
    if server is None or not server.alive:
        server = _servers[database] = TemporaryServer(database)
    return server


def serves(api_url: str) -> bool:
    """Whether a temporary server of this process has this address."""
    known = (server.__dict__.get("api_url") for server in _servers.values())
    return api_url in known


class TemporaryServer:
    """A Prefect server in a child process, on a free loopback port, until this process ends."""

    def __init__(self, database: Path) -> None:
        self._process = subprocess.Popen(
            # -P: the folder that we are in must not be a place to import from.
            [sys.executable, "-P", "-m", "perdure.orchestration.temporary_server", str(database)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A Ctrl-C is for us: the run must still be able to report that it was stopped.
            start_new_session=True,
            text=True,
        )
        atexit.register(self.stop)

    @functools.cached_property
    def api_url(self) -> str:
        """Address of the API; waits until it answers.

        Raises:
            OSError: The server did not start.
        """
        assert self._process.stdout is not None
        timer = threading.Timer(START_SECONDS, self._process.kill)
        timer.start()
        # It says its address once it answers; end of file means that it died, or took too long.
        url = self._process.stdout.readline().strip()
        timer.cancel()
        timer.join()
        if not url:
            self.stop()
            raise OSError(f"Prefect's temporary server did not start in {START_SECONDS:.0f} s")
        return url

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End the server; it first writes what it has received."""
        atexit.unregister(self.stop)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _serve(path: Path) -> None:
    """The child: serve until standard input ends."""
    announce_fd = sqlite_server.own_stdout()
    parent.end_with()
    listener = sqlite_server.listen(0)

    from prefect.settings import temporary_settings

    with ExitStack() as starting:
        database = starting.enter_context(sqlite_server.prepared(path))
        started = starting.pop_all()

    def app() -> Any:
        from prefect.server.api.server import create_app

        return create_app(ephemeral=True, final=True)

    def ready() -> None:
        database.keep_as_template()  # no client has this address yet, so it is still empty
        started.close()
        os.write(announce_fd, f"http://127.0.0.1:{listener.getsockname()[1]}/api\n".encode())

    with started, temporary_settings(updates=database.updates, set_defaults=SERVER_SETTINGS):
        sqlite_server.serve(app, database, listener, ready)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
