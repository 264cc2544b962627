"""Prefect's temporary server, for a retraining on a machine that has no Prefect server.

It is the app that Prefect itself starts when no API is configured, run here because Prefect's
own starter (a) leaves the server behind for ever when its parent is killed, (b) writes every
project's runs into one SQLite file, where two servers lock each other out, and (c) migrates
that file for 5 s whenever it is new. This one ends with its parent, however that ends, has a
database of its own in the workspace, and copies the empty schema from the last time.

The file is also the child's program. It imports nothing of Perdure and, before it knows the
settings, nothing of Prefect's server.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

SERVER_SETTINGS: dict[str, Any] = {
    # Sends data out, and on a new database fails with "database is locked" and keeps the
    # write lock: task runs then wait for SQLite's 60 s busy timeout.
    "server.analytics_enabled": False,
    # Nobody defines automations on a temporary server, or reads its event feed; each of these
    # is one more writer of the same SQLite file. Task runs have a recorder of their own.
    "server.services.event_persister.enabled": False,
    "server.services.triggers.enabled": False,
    "server.services.db_vacuum.enabled": "",
    "server.ui.enabled": False,
    "server.logging_level": "CRITICAL",
}
"""For the temporary server, where the user has not set them."""

ONE_CONNECTION: dict[str, Any] = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 60}
"""For the server's SQLAlchemy engine, which so never meets another writer of its own.

With Prefect's own pool of 15, two of three subflows that follow a task met a lock (Prefect
3.8.8): a transaction that reads before it writes is refused at once when the recorder of task
runs writes in between, the client is answered 503 and comes again after 2 s. And one in sixty
stopped the whole server for SQLite's busy timeout of 60 s: while one connection's thread waits
for the lock inside `sqlite3_step`, the event loop frees a cursor of the same connection, which
waits for that connection's mutex, so that nobody is left to end the transaction that holds the
lock.
"""

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


class TemporaryServer:
    """A Prefect server in a child process, on a free loopback port, until this process ends."""

    def __init__(self, database: Path) -> None:
        self._process = subprocess.Popen(
            # -P: the folder of this file must not be a place to import from.
            [sys.executable, "-P", __file__, str(database)],
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
        """End the server; it first writes down what it was told."""
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


def _serve(database: Path) -> None:
    """The child: serve until standard input ends."""
    said = os.dup(1)
    os.dup2(2, 1)  # whatever anybody prints goes to stderr; only the address to stdout
    threading.Thread(target=_end_with_parent, daemon=True).start()

    import prefect
    import uvicorn
    from filelock import FileLock
    from prefect.settings import get_current_settings, temporary_settings

    settings = get_current_settings()
    updates: dict[str, Any] = {}
    with contextlib.ExitStack() as starting:
        own = _connection_url(settings) == f"sqlite+aiosqlite:///{settings.home}/prefect.db"
        template = settings.home / f"perdure-empty-{prefect.__version__}.db"
        keep_template = False
        if own:
            updates["server.database.connection_url"] = f"sqlite+aiosqlite:///{database}"
            database.parent.mkdir(parents=True, exist_ok=True)
            # Two that migrate the same new database at once get in each other's way.
            starting.enter_context(FileLock(f"{database}.lock"))
            if not database.exists():
                keep_template = not _copy(template, database)
        started = starting.pop_all()

    with started, temporary_settings(updates=updates, set_defaults=SERVER_SETTINGS):
        from prefect.server.api.server import create_app

        if own:
            from prefect.server.database import configurations
            from sqlalchemy.ext.asyncio import create_async_engine

            one_connection = functools.partial(create_async_engine, **ONE_CONNECTION)
            vars(configurations).update(create_async_engine=one_connection)

        config = uvicorn.Config(
            create_app(ephemeral=True, final=True),
            host="127.0.0.1",
            port=0,
            log_level="critical",
            lifespan="on",
        )

        class Server(uvicorn.Server):
            async def startup(self, sockets: Any = None) -> None:
                await super().startup(sockets=sockets)
                if self.should_exit:
                    return
                if keep_template:  # nobody has this address yet, so it is still empty
                    _copy(database, template)
                started.close()
                port = self.servers[0].sockets[0].getsockname()[1]
                os.write(said, f"http://127.0.0.1:{port}/api\n".encode())

        Server(config).run()


def _connection_url(settings: Any) -> str:
    url = settings.server.database.connection_url
    return url.get_secret_value() if url is not None else ""


def _copy(source: Path, target: Path) -> bool:
    """Copy a database, also one in use; the copy appears whole, or not at all (False)."""
    scratch = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        scratch.parent.mkdir(parents=True, exist_ok=True)
        uri = f"{source.absolute().as_uri()}?mode=ro"
        with (
            contextlib.closing(sqlite3.connect(uri, uri=True)) as old,
            contextlib.closing(sqlite3.connect(scratch)) as new,
        ):
            old.backup(new)
            new.execute("PRAGMA journal_mode = DELETE")  # one file, which opens read-only
        scratch.replace(target)
    except (OSError, sqlite3.Error):  # none yet, or a home that is read-only: slower, no more
        scratch.unlink(missing_ok=True)
        return False
    return True


def _end_with_parent() -> None:
    """The kernel closes the pipe when the parent ends, also by SIGKILL."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
