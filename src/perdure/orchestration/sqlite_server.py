"""Prefect's own server app on an SQLite file, for a child process that ends with its parent.

`temporary_server` and `service.server` are such children. This module imports nothing of
Prefect's before it is asked to, for its settings must be known by then.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perdure.orchestration import held_connection

ONE_CONNECTION: dict[str, Any] = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 60}
"""For the server's SQLAlchemy engine, which so never meets another writer of its own.

With Prefect's own pool of 15, two of three subflows that follow a task met a lock (Prefect
3.8.8): a transaction that reads before it writes is refused at once when the recorder of task
runs writes in between, the client is answered 503 and comes again after 2 s. And one in sixty
stopped the whole server for SQLite's busy timeout of 60 s: while one connection's thread waits
for the lock inside `sqlite3_step`, the event loop frees a cursor of the same connection, which
waits for that connection's mutex, so that no thread is left to end the transaction that holds the
lock.
"""


@dataclass
class Database:
    """The SQLite file that a server is about to open."""

    path: Path | None
    """None: the user has set a database of his own for Prefect's server."""
    template: Path
    """An empty database of this version of Prefect's, which saves 5 s of migrations."""
    is_first: bool
    """The file is new, and there is no template yet: this one can become it."""

    @property
    def updates(self) -> dict[str, Any]:
        """Prefect's settings that name the file."""
        if self.path is None:
            return {}
        return {"server.database.connection_url": f"sqlite+aiosqlite:///{self.path}"}

    def keep_as_template(self) -> None:
        """Keep a migrated, still empty database for the next workspace."""
        if self.is_first and self.path is not None:
            copy(self.path, self.template)


@contextmanager
def prepared(path: Path) -> Iterator[Database]:
    """Make the database where it is missing; until the end, no other process migrates it.

    Args:
        path: An SQLite file. A database that the user has set for Prefect's server is taken
            instead.
    """
    import prefect
    from filelock import FileLock
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    own = _connection_url(settings) == f"sqlite+aiosqlite:///{settings.home}/prefect.db"
    found = Database(
        path.absolute() if own else None,
        settings.home / f"perdure-empty-{prefect.__version__}.db",
        is_first=False,
    )
    if found.path is None:
        yield found
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two that migrate the same new database at once get in each other's way.
    with FileLock(f"{path}.lock"):
        if not path.exists():
            found.is_first = not copy(found.template, path)
        yield found


def serve(
    app: Callable[[], Any],
    database: Database,
    listener: socket.socket,
    ready: Callable[[], None],
    *,
    watched: bool = False,
) -> None:
    """Serve Prefect's app on loopback until SIGTERM or SIGINT.

    Args:
        app: Makes the app, once the settings hold.
        database: As `prepared` gave it.
        listener: As `listen` gave it; it is closed at the end.
        ready: Called once the server answers.
        watched: Say on standard error who keeps the database's connection for long.
    """
    import uvicorn

    made = app()
    if database.path is not None:
        from prefect.server.database import configurations
        from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

        holder = held_connection.Holder()
        if watched:
            holder.watch()

        def one_connection(url: str, **options: Any) -> AsyncEngine:
            return holder.follow(create_async_engine(url, **options, **ONE_CONNECTION))

        vars(configurations).update(create_async_engine=one_connection)

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            if not self.should_exit:
                ready()

    config = uvicorn.Config(
        made,
        log_level="critical",
        lifespan="on",
        # A page that is open in a browser keeps its connections: do not wait for it.
        timeout_graceful_shutdown=3,
    )
    with listener:
        Server(config).run(sockets=[listener])


def listen(port: int) -> socket.socket:
    """Take a port of 127.0.0.1.

    Args:
        port: 0 for any that is free.

    Raises:
        SystemExit: It cannot be had.
    """
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what is ending may linger
    try:
        own.bind(("127.0.0.1", port))
    except OSError as error:
        own.close()
        raise SystemExit(
            f"Prefect's server cannot have port {port} of 127.0.0.1: {error.strerror}"
        ) from error
    return own


def _connection_url(settings: Any) -> str:
    url = settings.server.database.connection_url
    return url.get_secret_value() if url is not None else ""


def copy(source: Path, target: Path) -> bool:
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


def own_stdout() -> int:
    """Take standard output for one announcement; everything printed goes to stderr.

    Returns:
        The file descriptor to announce on.
    """
    announce_fd = os.dup(1)
    os.dup2(2, 1)
    return announce_fd
