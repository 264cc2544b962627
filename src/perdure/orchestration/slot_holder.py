"""Who holds a model's slot at Prefect, readable there by every client."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from perdure.workspace import actor

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import ConcurrencyLeaseHolder

_MISSING = 404


def this_process(purpose: str) -> dict[str, Any]:
    """Describe this process as a holder."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "who": actor(),
        "purpose": purpose,
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write(client: SyncPrefectClient, name: str, value: dict[str, Any]) -> None:
    """Write it into the variable of this name, which is made where it is missing."""
    from prefect.client.schemas.actions import VariableCreate, VariableUpdate

    try:
        client.update_variable(VariableUpdate(name=name, value=value))
    except httpx.HTTPStatusError as error:
        if error.response.status_code != _MISSING:
            raise
        client.create_variable(VariableCreate(name=name, value=value))


def read(client: SyncPrefectClient, name: str) -> dict[str, Any]:
    """Return what the last holder wrote; empty: nothing."""
    found = client.read_variable_by_name(name)
    return found.value if found is not None and isinstance(found.value, dict) else {}


def describe(holder: dict[str, Any]) -> str:
    """Return it as the end of a sentence."""
    try:
        return (
            f"by {holder['who']}, process {holder['pid']} on {holder['host']} "
            f"since {holder['since']} for {holder['purpose']}"
        )
    except KeyError:
        return "by another process"


def flow_run() -> ConcurrencyLeaseHolder | None:
    """The present flow run, for Prefect's page of concurrency limits; None: there is none."""
    from prefect.client.schemas.objects import ConcurrencyLeaseHolder
    from prefect.context import FlowRunContext

    run = FlowRunContext.get()
    if run is None or run.flow_run is None:
        return None
    return ConcurrencyLeaseHolder(type="flow_run", id=run.flow_run.id)


def boot() -> str:
    """Return the id of this start of the machine, within which monotonic clocks compare."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
