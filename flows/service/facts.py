"""The facts that a reconciliation decides from, as the disk, the registry and Prefect have them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from perdure import disk
from perdure.config import Workspace
from perdure.flows.service import belonging, names
from perdure.flows.service.arrivals import Waiting
from perdure.flows.service.reconcile import Facts, How, Run
from perdure.tasks import experiences
from perdure.tasks.registry import Registry

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

SOON_S = 60.0
"""A run that is scheduled within this counts as one that comes; the two clocks may differ."""
LOCKS = Path("/proc/locks")
"""What is locked on this machine, as Linux's kernel says it."""
NEWEST = 20
"""So many of the ended runs are looked at."""

AWAY = (
    "Unreachable:", "ConnectError:", "ConnectTimeout:", "ReadTimeout:", "ReadError:",
    "RemoteProtocolError:", "Server error '5",
)  # fmt: skip
"""Errors of a run, as its state names them, that an outside system which is away makes."""

ACTIVE = ("PENDING", "RUNNING", "CANCELLING", "PAUSED")
BEGUN = ("RUNNING", "CANCELLING", "PAUSED")
ENDED: dict[str, How] = {
    "COMPLETED": "completed", "FAILED": "failed", "CRASHED": "crashed", "CANCELLED": "cancelled",
}  # fmt: skip


class Pending:
    """The experiences that wait to be learned, told from names; their files are opened once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}
        self._rows: dict[str, int] = {}

    def read(self, ws: Workspace) -> tuple[dict[str, int | None], float]:
        """Rows of each pending experience, and for how long the oldest has been there, in s.

        The rows are read only where `trigger.min_rows` asks for them.

        Raises:
            Unreachable: MLflow does not answer.
        """
        waiting = {path.stem: path for path in _files(ws)}
        if waiting:
            now = Registry(ws).read()
            gone = {*now.held, *(now.challenger.cursor if now.challenger else ())}
            waiting = {id_: path for id_, path in waiting.items() if id_ not in gone}
        if ws.config.trigger.min_rows and not waiting.keys() <= self._rows.keys():
            self._rows = {one.id: one.rows for one in experiences.committed(ws)}
        moment = self._clock()
        self._since = {id_: self._since.get(id_, moment) for id_ in waiting}
        ages = [max(moment - self._since[id_], _age(path)) for id_, path in waiting.items()]
        return {id_: self._rows.get(id_) for id_ in sorted(waiting)}, max(ages, default=0.0)


def _files(ws: Workspace) -> list[Path]:
    """Files of the experiences that are recorded, without a look into them."""
    adding = set(experiences.unfinished(ws) or ())
    return [path for path in ws.experiences.glob("*-*.parquet") if path.stem not in adding]


def _age(path: Path) -> float:
    """By the file's date, so that it outlives a restart; a clock that jumps is early, no more."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return 0.0


def gather(
    ws: Workspace,
    client: SyncPrefectClient,
    inbox: Waiting,
    pending: tuple[dict[str, int | None], float],
    now: float,
    behind: tuple[str | None, float] = (None, 0.0),
) -> tuple[Facts, UUID | None]:
    """All facts, and the id of the deployment `retrain`; None: there is none.

    Raises:
        httpx.HTTPError: Prefect does not answer.
    """
    from prefect.exceptions import ObjectNotFound

    try:
        full = names.full("retrain", ws.config.model.name)
        found = client.read_deployment_by_name(full)
        deployment = None if belonging.is_elsewhere(ws, found.tags) else found
    except ObjectNotFound:
        deployment = None
    trigger = ws.config.trigger
    facts = Facts(
        now=now,
        inbox={path.name: "-".join(map(str, seen)) for path, seen in inbox.files.items()},
        inbox_since=inbox.since,
        inbox_told=inbox.told,
        pending=pending[0],
        pending_s=pending[1],
        behind=behind[0],
        behind_s=behind[1],
        runs=[] if deployment is None else list(_runs(client, deployment.id)),
        deployed=deployment is not None,
        paused=deployment is not None and (deployment.paused or _is_off(ws, client)),
        busy=is_held(ws, "model"),
        debounce=trigger.debounce,
        max_wait=trigger.max_wait,
        min_rows=trigger.min_rows,
    )
    return facts, None if deployment is None else deployment.id


def _is_off(ws: Workspace, client: SyncPrefectClient) -> bool:
    found = client.read_automations_by_name(names.data_arrived(ws.config.model.name))
    return bool(found) and not any(one.enabled for one in found)


def _runs(client: SyncPrefectClient, deployment: UUID) -> Iterator[Run]:
    """Those that come or are there, then those that ended, newest first."""
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterDeploymentId,
        FlowRunFilterExpectedStartTime,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    def ask(types: tuple[str, ...], before: datetime | None, sort: FlowRunSort) -> list[FlowRun]:
        state = FlowRunFilterState(
            type=FlowRunFilterStateType(any_=[StateType(one) for one in types])
        )
        start = FlowRunFilterExpectedStartTime.model_validate({"before_": before})
        chosen = FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[deployment]),
            state=state,
            expected_start_time=start if before else None,
        )
        return client.read_flow_runs(flow_run_filter=chosen, sort=sort, limit=NEWEST)

    soon = datetime.now(UTC) + timedelta(seconds=SOON_S)
    first = FlowRunSort.EXPECTED_START_TIME_ASC
    for run in [*ask(("SCHEDULED",), soon, first), *ask(ACTIVE, None, first)]:
        begun = run.state is not None and run.state.type.value in BEGUN
        yield Run(str(run.id), "active", begun)
    for run in ask(tuple(ENDED), None, FlowRunSort.END_TIME_DESC):
        if run.state is not None:
            yield Run(str(run.id), _how(run.state.type.value, run.state.message or ""))


def _how(ended: str, message: str) -> How:
    how = ENDED[ended]
    away = disk.says_full(message) or any(error in message for error in AWAY)
    return "hindered" if how == "failed" and away else how


def is_due(run: FlowRun) -> bool:
    """Whether a run is not one that waits for a time yet to come."""
    at = run.expected_start_time
    if run.state is None or not run.state.is_scheduled() or at is None:
        return True
    return at <= datetime.now(UTC) + timedelta(seconds=SOON_S)


def is_held(ws: Workspace, name: str) -> bool:
    """Whether a process of this machine holds a lock of the workspace, without touching it.

    To try it would be to hold it for a moment, and somebody who asks then would be refused.
    Elsewhere than on Linux the note beside the lock says it, which a killed process leaves.
    """
    folder = ws.state / "locks"
    try:
        file = (folder / f"{name}.lock").stat()
        held = LOCKS.read_text(encoding="ascii")
    except FileNotFoundError:
        return _is_noted(folder / f"{name}.json")
    except OSError:
        return False
    place = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    # Files of other file systems have the same number; btrfs and overlayfs show another device
    # than they lock by, so there the note decides.
    alike = [
        (fields[4], fields[5])
        for fields in map(str.split, held.splitlines())
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(f":{file.st_ino}")
    ]
    return any(at == place for _, at in alike) or (
        bool(alike) and str(_noted(folder / f"{name}.json").get("pid")) in dict(alike)
    )


def _is_noted(note: Path) -> bool:
    """Whether the process that a note names lives, and no other one has its number."""
    said = _noted(note)
    try:
        born: float = psutil.Process(int(said["pid"])).create_time()
        return abs(born - float(said["born"])) < 1.0
    except (psutil.Error, OSError, ValueError, LookupError, TypeError):
        return False


def _noted(note: Path) -> dict[str, Any]:
    try:
        said = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
