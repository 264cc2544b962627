"""Links from Prefect's pages to MLflow's."""

from __future__ import annotations

from urllib.parse import quote

from perdure import running
from perdure.config import Workspace
from perdure.secrets import without_secrets


def version(ws: Workspace, number: int | None) -> str:
    """Name a version, in Markdown, with a link to its page where MLflow's address is known."""
    if number is None:
        return "none"
    pages = _mlflow(ws)
    if pages is None:
        return str(number)
    return f"[{number}]({pages}/#/models/{quote(ws.config.model.name, safe='')}/versions/{number})"


def _mlflow(ws: Workspace) -> str | None:
    """The address of MLflow's pages: that of the tracking server, or that of `perdure up`."""
    if ws.tracking_uri.startswith(("http://", "https://")):
        return without_secrets(ws.tracking_uri).rstrip("/")
    now = running.read(ws.state)
    return now.mlflow.rstrip("/") if now is not None and now.mlflow.startswith("http") else None
