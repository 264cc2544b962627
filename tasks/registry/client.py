"""The connection to MLflow: made on first use, quiet, and quick to report that MLflow is down."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from perdure import exhausted
from perdure.config import Workspace
from perdure.errors import Fault, PerdureError, Unreachable, chain
from perdure.secrets import without_secrets

PROBE_SECONDS = 5.0
LONGEST_MIGRATION_S = 300.0
"""Longest wait for another process that migrates the database."""

ENVIRONMENT = {
    # MLflow's own defaults wait for minutes on a server that is down.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # results go to stdout, nothing else
    "MLFLOW_UV_AUTO_DETECT": "false",  # or the user's own project lands in the artifacts
    "GIT_PYTHON_REFRESH": "quiet",
}

_fluent = threading.RLock()


def tracking_uri(workspace: Workspace) -> str:
    """The workspace's tracking URI; a relative SQLite path is relative to the workspace."""
    uri = workspace.tracking_uri
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        path = uri.removeprefix("sqlite:///")
        return f"sqlite:///{workspace.root / path}" if path != ":memory:" else uri
    return uri


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite URI; None for everything else."""
    path = uri.removeprefix("sqlite:///")
    return Path(path) if path not in (uri, ":memory:") else None


class Client:
    """MLflow's client, for one tracking URI.

    Every call goes through `call`: there its failures become Perdure's errors.

    Args:
        uri: Tracking and registry URI.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._client: Any = None
        self._writer: Any = None
        self._lock = threading.Lock()

    @property
    def database(self) -> Path | None:
        """MLflow's SQLite file; None: there is none, or it is on a server."""
        return sqlite_path(self.uri)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of `mlflow.MlflowClient`.

        Raises:
            Unreachable: MLflow does not answer.
            Missing: What was asked for is not there.
            Fault: MLflow refuses.
        """
        with translated(self.uri):
            client = self._connected()
            from perdure.tasks.registry.writing import WRITES

            return getattr(self._writer if name in WRITES else client, name)(*args, **kwargs)

    def fluent(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """`call`, for methods that look at the process's tracking URI underneath."""
        with self.current():
            return self.call(name, *args, **kwargs)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this client's URI that of the process, for MLflow's functions.

        Raises:
            Unreachable: MLflow does not answer.
        """
        names = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
        with translated(self.uri), _fluent:
            self._connected()
            import mlflow

            # MLflow keeps the address in the environment, too.
            before = {name: os.environ.get(name) for name in names}
            mlflow.set_tracking_uri(self.uri)
            mlflow.set_registry_uri(self.uri)
            try:
                yield
            finally:
                # None forgets the address; MLflow's own types leave it out.
                mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # None resets it
                mlflow.set_registry_uri(None)  # type: ignore[arg-type]  # None resets it
                for name, value in before.items():
                    if value is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = value

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                probe(self.uri)
                for name, value in ENVIRONMENT.items():
                    os.environ.setdefault(name, value)
                from mlflow.tracking.client import MlflowClient

                from perdure.tasks.registry.writing import Writer

                quieten()
                with alone(self.database):
                    self._writer = Writer(self.uri)
                    self._client = MlflowClient(self.uri, self.uri)
            return self._client


@contextmanager
def alone(path: Path | None) -> Iterator[None]:
    """MLflow makes the tables of its SQLite file as it connects; two at once fail at it."""
    if path is None:
        yield
        return
    with FileLock(f"{path}.lock", timeout=LONGEST_MIGRATION_S):
        if not path.exists() or not path.stat().st_size:  # a probe leaves an empty one
            _make(path)
        yield


def _make(path: Path) -> None:
    """MLflow's tables in a new file, which appears whole or not at all.

    MLflow makes them in some sixty steps (3.17). Who is killed in one leaves a file at which every
    later one fails: "table secrets already exists".
    """
    from mlflow.store.db import utils

    library: Any = utils  # without types
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    for left in path.parent.glob(f"{part.name}*"):
        left.unlink()
    engine = library.create_sqlalchemy_engine(f"sqlite:///{part}")
    try:
        library._initialize_tables(engine)  # noqa: SLF001 (there is no public name)
    finally:
        engine.dispose()
    part.replace(path)


class Missing(Fault):
    """What was asked for is not in MLflow."""


def quieten() -> None:
    """Let MLflow and its migrations speak only of what is wrong."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It logs the traceback of what it raises, too.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def probe(uri: str) -> None:
    """Find out, in seconds, whether MLflow answers.

    MLflow tries an unreachable database ten times, waiting twice as long each time.

    Raises:
        Unreachable: It does not.
    """
    path, parts = sqlite_path(uri), urlsplit(uri)
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA schema_version")
        elif parts.scheme in {"http", "https"}:
            import requests

            # Any answer will do, also "log in first".
            requests.head(uri, timeout=PROBE_SECONDS)
        elif parts.hostname and parts.port:
            import socket

            socket.create_connection((parts.hostname, parts.port), PROBE_SECONDS).close()
    except (OSError, sqlite3.Error) as error:  # requests' errors are OSErrors
        raise unreachable(uri, error) from error


def unreachable(uri: str, error: BaseException) -> Unreachable:
    """The error that says that MLflow does not answer."""
    if lacks := exhausted.named(error):
        return Unreachable(
            f"MLflow at {without_secrets(uri)} cannot work: {lacks.what}", hint=lacks.hint
        )
    # What the system reported, without the layers of libraries around it.
    system = [one.strerror for one in chain(error) if isinstance(one, OSError) and one.strerror]
    reason = system[-1] if system else str(error).strip() or type(error).__name__
    why = reason.splitlines()[0]
    return Unreachable(
        f"MLflow at {without_secrets(uri)} does not answer: {why[:300]}",
        hint="start the MLflow server, or mend tracking.uri in perdure.toml; then: perdure doctor",
    )


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn what MLflow, SQLAlchemy and requests raise into Perdure's errors."""
    try:
        yield
    except PerdureError:
        raise
    except Exception as error:
        code = getattr(error, "error_code", None)
        if code in {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}:
            raise Missing(str(error)) from error
        if code == "TEMPORARILY_UNAVAILABLE" or any(map(_is_unreachable, chain(error))):
            raise unreachable(uri, error) from error
        if code is None and not isinstance(error, OSError):
            raise
        raise Fault(f"MLflow at {without_secrets(uri)}: {str(error)[:1000]}") from error


def _is_unreachable(error: BaseException) -> bool:
    family = {cls.__module__.partition(".")[0] + "." + cls.__name__ for cls in type(error).__mro__}
    named = {"sqlalchemy.OperationalError", "requests.ConnectionError", "requests.Timeout"}
    if family & named or isinstance(error, (ConnectionError, TimeoutError)):
        return True
    text = str(error)
    return any(f"error code {status}" in text for status in (502, 503, 504))
