"""Whose a flow run is: that of one model, in one registry.

On one Prefect server deployments, queues and events have their names from the model alone. Two
environments of one model, such as clones for staging and for production, each with a registry of
its own, would take each other's runs: a rollback that is meant for one would roll back the other.
So a deployment, and with it each of its runs, has a tag that names its registry.

A registry that is configured is named by its address. That of the workspace itself has a name by
chance, in a file beside it; it goes along when the workspace is moved, renamed or restored.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from filelock import FileLock

from perdure import atomic, config
from perdure.config import Workspace
from perdure.errors import PerdureError, UsageError
from perdure.orchestration import names
from perdure.secrets import without_secrets

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

LENGTH = 12
"""Letters of a registry's name."""

MEND = "give the model another name in each environment"


def place(ws: Workspace) -> Path:
    """The file that names the registry of the workspace itself."""
    return ws.state / "registry.id"


def registry(ws: Workspace) -> str | None:
    """The name of a workspace's registry; None: it has none yet."""
    return shared(ws) or noted(ws)


def shared(ws: Workspace) -> str | None:
    """The name of a registry that is configured; None: it is that of the workspace itself."""
    uri = ws.config.tracking.uri
    if uri is None or (uri.startswith("sqlite:///") and not uri.startswith("sqlite:////")):
        return None
    parts = urlsplit(without_secrets(uri))
    # Who asks does not matter: machines may have accounts of their own.
    host = parts.netloc.rpartition("@")[2].lower()
    text = parts._replace(netloc=host).geturl().rstrip("/")
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def noted(ws: Workspace) -> str | None:
    """What the file says that names the registry of the workspace itself; None: it is missing."""
    try:
        return place(ws).read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None


def named(ws: Workspace) -> str:
    """The name of a workspace's registry, which has one from now on."""
    if (already := registry(ws)) is not None:
        return already
    path = place(ws)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        found = registry(ws)
        if found is None:
            found = uuid.uuid4().hex[:LENGTH]
            note(path, found)
    return found


def note(path: Path, name: str) -> None:
    """Write the file that names a registry, whole."""
    atomic.write_text(path, f"{name}\n")


def is_elsewhere(ws: Workspace, tags: Collection[str]) -> bool:
    """Whether a deployment or run with these tags stands for another registry.

    One without such a tag, as of an earlier version, is everybody's.
    """
    registries = {tag for tag in tags if tag.startswith(names.REGISTRY)}
    return bool(registries) and names.registry_tag(registry(ws) or "") not in registries


def check(root: Path, tags: Collection[str]) -> None:
    """See to it that a flow run with these tags is for the workspace in a folder.

    Raises:
        UsageError: It is for another model, or another registry.
    """
    try:
        ws = config.read(root)
    except PerdureError:  # the flow itself will say what is wrong with the workspace
        return
    model, begins = ws.config.model.name, f"{names.TAG}:"
    meant = sorted(tag.removeprefix(begins) for tag in tags if tag.startswith(begins))
    if meant and model not in meant:
        raise UsageError(
            f"this run is for the model {', '.join(meant)}, and the model of {ws.root} is {model}. "
            "Nothing was changed",
            hint="give each model's deployments its git_remote, as in deploy/README.md",
        )
    if is_elsewhere(ws, tags):
        raise UsageError(
            f"this run is for another registry of the model {model} than that of {ws.root}. "
            "Nothing was changed",
            hint=MEND,
        )


def cancel_others(client: SyncPrefectClient, ws: Workspace, deployments: list[UUID]) -> None:
    """Cancel what has not begun of the registry that these deployments stood for before.

    No worker would take it, and the model would seem to have a run on its way.
    """
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.states import Cancelled

    chosen = filters.FlowRunFilter(
        deployment_id=filters.FlowRunFilterDeploymentId(any_=deployments),
        state=filters.FlowRunFilterState(
            type=filters.FlowRunFilterStateType(any_=[StateType.SCHEDULED])
        ),
    )
    for run in client.read_flow_runs(flow_run_filter=chosen, limit=200):
        if is_elsewhere(ws, run.tags):
            message = "The deployment stands for another registry now."
            client.set_flow_run_state(run.id, Cancelled(message=message))
