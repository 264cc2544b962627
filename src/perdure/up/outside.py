"""What the user has configured elsewhere, and is used instead of a part of our own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from perdure.addresses import without_secrets
from perdure.errors import ConfigError, Unreachable

ASK = "from prefect.settings import get_current_settings as now; print(now().api.url or '')"

ANSWER_SECONDS = 10.0


def prefect_api(root: Path) -> str | None:
    """The API of Prefect that the user has configured; None: none.

    Prefect itself is asked, in a process of its own (2 s), where any of its files could say so.

    Args:
        root: The working directory of the parts.

    Raises:
        ConfigError: Prefect cannot read its settings.
    """
    if (url := os.environ.get("PREFECT_API_URL", "").strip()) != "":
        return url
    if not any(_may_say(path) for path in _files(root)):
        return None
    told = subprocess.run(
        [sys.executable, "-P", "-c", ASK],
        cwd=root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if told.returncode != 0:
        last = (told.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConfigError("Prefect's settings", [last], hint="prefect config view")
    return told.stdout.strip() or None


def _files(root: Path) -> list[Path]:
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect").expanduser()
    profiles = os.environ.get("PREFECT_PROFILES_PATH")
    return [
        Path(profiles).expanduser() if profiles else home / "profiles.toml",
        *(root / name for name in ("prefect.toml", "pyproject.toml", ".env")),
    ]


def _may_say(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8", errors="replace").lower()
    except OSError:
        return False
    return "prefect_api_url" in text or "prefect.api" in text or (path.stem == "prefect")


@dataclass(frozen=True)
class Server:
    """A server that is used, and that somebody else keeps going."""

    name: str
    address: str
    """Of HTTP."""
    hint: str
    """What to do where it does not answer."""

    def ask(self) -> None:
        """Find out whether anybody is there, before anything is started that needs him.

        What an init system starts again and again, while a server is away, must not cost much.

        Raises:
            Unreachable: Nobody is.
        """
        parts = urlsplit(self.address)
        host = parts.hostname or ""
        proxies = urllib.request.getproxies()
        named = parts.scheme in proxies or "all" in proxies
        if named and not urllib.request.proxy_bypass(host):
            return  # only the proxy knows
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((host, port), ANSWER_SECONDS).close()
        except OSError as error:
            why = error.strerror or str(error) or type(error).__name__
            shown = without_secrets(self.address)
            raise Unreachable(
                f"{self.name} at {shown} does not answer: {why}", hint=self.hint
            ) from error


def prefect_page(api: str) -> str | None:
    """Where people look, if it follows from the API's address, as it does for Prefect's server."""
    return without_secrets(api).rstrip("/").removesuffix("/api") if _is_server(api) else None


def _is_server(api: str) -> bool:
    return urlsplit(api).path.rstrip("/") == "/api"


def mlflow(uri: str) -> str | None:
    """The address of an MLflow server; None: the workspace's own database, which has none."""
    if uri.startswith(("http://", "https://")):
        return without_secrets(uri)
    return uri if uri.startswith("databricks") else None
