"""Servers that the user has configured, which are used instead of a part of `perdure up`."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from perdure import config, running
from perdure.errors import ConfigError, Unreachable
from perdure.secrets import without_secrets
from perdure.workspace import root_of

READ_SETTING = "from prefect.settings import get_current_settings as s; print(s().api.url or '')"

ANSWER_SECONDS = 10.0
"""For the connection, and for the answer."""


@dataclass(frozen=True)
class Server:
    """A server that others keep going."""

    name: str
    address: str
    hint: str
    """What to do where it does not answer."""

    @property
    def shown(self) -> str:
        """The address without what is secret in it."""
        return without_secrets(self.address)

    def ask(self) -> None:
        """Find out whether it answers, in 20 s at most; any answer is one.

        Raises:
            Unreachable: It does not.
        """
        parts = urlsplit(self.address)
        host = parts.hostname or ""
        proxies = urllib.request.getproxies()
        proxied = parts.scheme in proxies or "all" in proxies
        if parts.scheme not in ("http", "https") or (
            proxied and not urllib.request.proxy_bypass(host)
        ):
            return  # only the proxy knows, or the client of databricks
        connection = HTTPConnection(host, parts.port, timeout=ANSWER_SECONDS)
        if parts.scheme == "https":
            trusting = ssl.create_default_context()  # nothing secret is sent
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            connection = HTTPSConnection(host, parts.port, timeout=ANSWER_SECONDS, context=trusting)
        try:
            connection.request("GET", f"{parts.path.rstrip('/')}/health")
            connection.getresponse()
        except (OSError, HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            text = f"{self.name} at {self.shown} does not answer: {why}"
            raise Unreachable(text, hint=self.hint) from error
        finally:
            connection.close()


def ask_prefect(root: Path) -> None:
    """Find out whether the Prefect server answers that others keep going, if one is used.

    Args:
        root: The workspace.

    Raises:
        Unreachable: It does not.
        ConfigError: Prefect cannot read its settings.
    """
    ws = config.read(root_of(str(root)))
    now = running.read(ws.state)
    if now is None:
        server = prefect(ws.root)
    elif any(part.name == "server" for part in now.parts):
        return  # it is a part of `perdure up`
    else:
        server = _prefect(now.prefect_api)
    if server is not None:
        server.ask()


def prefect(root: Path) -> Server | None:
    """Return the Prefect server that the user has configured; None: none.

    Prefect itself reads its settings, in a process of its own (2 s), where a file may have one.

    Args:
        root: The working directory of the parts.

    Raises:
        ConfigError: Prefect cannot read its settings.
    """
    url = os.environ.get("PREFECT_API_URL", "").strip()
    if not url and any(_may_configure(path) for path in _files(root)):
        command = [sys.executable, "-P", "-c", READ_SETTING]
        asked = subprocess.run(
            command, cwd=root, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if asked.returncode != 0:
            last = (asked.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ConfigError("Prefect's settings", [last], hint="prefect config view")
        url = asked.stdout.strip()
    return _prefect(url) if url else None


def _prefect(url: str) -> Server:
    return Server("Prefect", url, "start it, or unset PREFECT_API_URL: perdure up brings one")


def _files(root: Path) -> list[Path]:
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect").expanduser()
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    names = ("prefect.toml", "pyproject.toml", ".env")
    return [profiles.expanduser(), *(root / name for name in names)]


def _may_configure(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8", errors="replace").lower()
    except OSError:
        return False
    return "prefect_api_url" in text or "prefect.api" in text or path.stem == "prefect"


def prefect_page(api: str) -> str | None:
    """Return the address of the pages, where it follows from the API's, as for Prefect's server."""
    address = without_secrets(api).rstrip("/")
    return address.removesuffix("/api") if urlsplit(api).path.rstrip("/") == "/api" else None


def mlflow(uri: str) -> Server | None:
    """Return the MLflow server of `tracking.uri`; None: it is a database, which has no pages."""
    if not uri.startswith(("http://", "https://", "databricks")):
        return None
    return Server("MLflow", uri, "start it, or mend tracking.uri in perdure.toml")
