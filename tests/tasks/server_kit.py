"""A real MLflow server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tests.tasks.version_kit import free_port

PASSWORD = "a-long-password"
"""Of the user `admin`."""


def passwords(folder: Path, database: str | None = None) -> dict[str, str]:
    """The environment of an MLflow server that asks for a password, and of who knows it.

    Args:
        folder: For the settings.
        database: Where its users are kept; None: in the folder.
    """
    settings = folder / "auth.ini"
    settings.write_text(
        "[mlflow]\ndefault_permission = EDIT\n"
        f"database_uri = {database or f'sqlite:///{folder}/auth.db'}\n"
        f"admin_username = admin\nadmin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
        encoding="utf-8",
    )
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of this run",
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": PASSWORD,
    }


class Server:
    """An MLflow server on a port of this machine.

    Args:
        root: For its log, and its data.
        port: Its port; None: one that is free.
        more: Options of `mlflow server`.
        database: Where runs and versions are kept; None: in the folder.
        artifacts: Where files are kept; None: in the folder.
    """

    def __init__(
        self,
        root: Path,
        port: int | None = None,
        more: tuple[str, ...] = (),
        database: str | None = None,
        artifacts: str | None = None,
    ) -> None:
        self.port = port or free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.log = root / "server.log"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", database or f"sqlite:///{root / 'server.db'}"]
        command += ["--artifacts-destination", artifacts or str(root / "stored"), *more]
        environment = {
            **os.environ,
            # Else it starts eight processes more, for what nobody asks of it here.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }
        environment.pop("MLFLOW_TRACKING_URI", None)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=output, start_new_session=True
            )

    def wait(self) -> None:
        for _ in range(900):
            assert self.process.poll() is None, self.log.read_text()
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
