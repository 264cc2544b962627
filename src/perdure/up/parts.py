"""Which parts a workspace needs, and their commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from perdure.addresses import without_secrets
from perdure.config import Workspace
from perdure.up import outside, ports

SERVICE = "perdure.flows.service"


@dataclass(frozen=True)
class Part:
    """A process to be kept going."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beside that of the supervisor."""
    needs: tuple[str, ...] = ()
    """Parts that are ready before it is started. It is ended before them."""
    after: tuple[str, ...] = ()
    """Parts that are ready before it is started, so that it does not slow them; no more."""
    address: str | None = None
    """Asked until it answers: then the part is ready."""
    says: str | None = None
    """Text of the line by which it says that it is ready; or it says why not (`waiting`)."""
    once: bool = False
    """A task: it is ready when it has ended well, and is not started again."""
    grace_s: float = 2.5
    """Seconds that it has from SIGTERM until all that it started is told to end too."""


@dataclass(frozen=True)
class Plan:
    """Everything that is to run for a workspace, and where it will answer."""

    root: Path
    state: Path
    prefect_api: str
    prefect_page: str | None
    mlflow: str
    parts: tuple[Part, ...]
    remarks: tuple[str, ...] = ()
    """What is used instead of a part of our own."""
    elsewhere: tuple[outside.Server, ...] = ()
    """To be asked before anything is started."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of every part, beside that of the supervisor."""


def plan(ws: Workspace, folder: Path) -> Plan:
    """What a workspace needs on this machine.

    Args:
        ws: The workspace.
        folder: Where the parts keep what is theirs.
    """
    configured = outside.prefect_api(ws.root)
    pages = outside.mlflow(ws.tracking_uri)
    own = [*(["server"] if configured is None else []), *(["mlflow"] if pages is None else [])]
    elsewhere: list[outside.Server] = []
    port = ports.choose(folder, own)
    remarks: list[str] = []
    parts: list[Part] = []
    if configured is None:
        page: str | None = f"http://{ports.HOST}:{port['server']}"
        api = f"{page}/api"
        parts.append(_server(folder, port["server"], api))
    else:
        api, page = configured, outside.prefect_page(configured)
        hint = "start it, or unset PREFECT_API_URL: perdure up brings one"
        elsewhere.append(outside.Server("Prefect", api, hint))
        remarks.append(f"Prefect's server is the one that is configured: {without_secrets(api)}")
    if pages is None:
        mlflow = f"http://{ports.HOST}:{port['mlflow']}"
        parts.append(_mlflow(ws, port["mlflow"], mlflow))
    else:
        mlflow = pages
        if mlflow.startswith("http"):
            hint = "start it, or mend tracking.uri in perdure.toml"
            elsewhere.append(outside.Server("MLflow", mlflow, hint))
        remarks.append(f"MLflow is the one of tracking.uri: {mlflow}")
    needs = ("server",) if configured is None else ()
    parts += [_deploy(ws, needs), _watcher(needs), *_workers(ws, needs)]
    if sys.platform == "linux":
        # Last: for ten seconds it imports, and everything can go on without it.
        parts.append(_warm(folder, after=tuple(part.name for part in parts)))
    return Plan(
        root=ws.root,
        state=ws.state,
        prefect_api=without_secrets(api),
        prefect_page=page,
        mlflow=mlflow,
        parts=tuple(parts),
        remarks=tuple(remarks),
        elsewhere=tuple(elsewhere),
        environment=_environment(ws, api, folder),
    )


def module(name: str, *arguments: str) -> tuple[str, ...]:
    """The command of one of our programs; -P: nothing is imported from the working directory."""
    return (sys.executable, "-P", "-m", name, *arguments)


def _environment(ws: Workspace, api: str, folder: Path) -> dict[str, str]:
    here = str(Path(sys.executable).parent)
    return {
        "PERDURE_WORKSPACE": str(ws.root),
        "PREFECT_API_URL": api,
        "PERDURE_WARM": str(folder),
        "PYTHONUNBUFFERED": "1",
        "PATH": os.pathsep.join([here, os.environ.get("PATH", os.defpath)]),
    }


def _server(folder: Path, port: int, api: str) -> Part:
    command = module(f"{SERVICE}.server", str(folder / "prefect.db"), str(port))
    return Part("server", command, address=f"{api}/health")


def _mlflow(ws: Workspace, port: int, address: str) -> Part:
    command = module("perdure.tasks.registry.website", str(ws.root), str(port))
    return Part("mlflow", command, address=f"{address}/health")


def _deploy(ws: Workspace, needs: tuple[str, ...]) -> Part:
    command = module("perdure", "deploy", "--workspace", str(ws.root))
    return Part("deploy", command, needs=needs, once=True)


def _watcher(needs: tuple[str, ...]) -> Part:
    return Part("watcher", module(f"{SERVICE}.watch"), needs=needs, says="Watching ")


def _workers(ws: Workspace, needs: tuple[str, ...]) -> list[Part]:
    pools: dict[str, tuple[str, ...]] = {"worker": ("--pool", "cpu")}
    if ws.config.resources.pool == "gpu":
        pools["worker-gpu"] = ("--pool", "gpu")
    # Prefect's worker says "Worker 'NAME' started!". It first lets its flow runs end, which
    # tell the server so.
    return [
        Part(
            name,
            module(f"{SERVICE}.worker", *options),
            needs=needs,
            says=" started!",
            grace_s=5.0,
        )
        for name, options in pools.items()
    ]


def _warm(folder: Path, after: tuple[str, ...]) -> Part:
    return Part("warm", module(f"{SERVICE}.warm", str(folder)), after=after)
