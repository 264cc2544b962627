"""What waits, what runs, and who holds the lock: as the disk, the registry and Prefect have it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from perdure.config import Workspace
from perdure.orchestration import model_lock, names, outcomes, registry_identity
from perdure.service.arrivals import Waiting
from perdure.service.policy import Ended, Facts, Run
from perdure.tasks import experiences, locks
from perdure.tasks.registry import Registry

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.sorting import FlowRunSort

SOON_S = 60.0
"""A run that is scheduled within this counts as one that comes; the two clocks may differ."""
MOST = 200
"""So many runs are looked at."""

COMING = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "PAUSED")
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Pending:
    """The experiences that wait, known by their names; their files are opened once."""

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
    """Gather all facts, and the id of the deployment `retrain`; None: there is none.

    Args:
        ws: The workspace.
        client: Of Prefect's API.
        inbox: What waits there.
        pending: Rows of each pending experience, and the age of the oldest, in s.
        now: Seconds of a clock that is never set back.
        behind: The commit of the git remote that is not here, and for how long, in s.

    Raises:
        httpx.HTTPError: Prefect does not answer.
    """
    from prefect.exceptions import ObjectNotFound

    trigger = ws.config.trigger
    facts = Facts(
        now=now,
        inbox={path.name: "-".join(map(str, seen)) for path, seen in inbox.files.items()},
        inbox_since=inbox.since,
        pending=pending[0],
        pending_s=pending[1],
        behind=behind[0],
        behind_s=behind[1],
        locked=locks.is_held(ws, "model"),
        taken=model_lock.is_taken(ws, client),
        debounce=trigger.debounce,
        max_wait=trigger.max_wait,
        min_rows=trigger.min_rows,
    )
    try:
        found = client.read_deployment_by_name(names.full("retrain", ws.config.model.name))
    except ObjectNotFound:
        return replace(facts, deployed=False), None
    if registry_identity.is_elsewhere(ws, found.tags):
        return replace(facts, deployed=False), None
    latest, ended = _latest(client, found.id)
    return replace(
        facts,
        runs=list(_coming(client, found.id)),
        latest=latest,
        ended=ended,
        paused=found.paused or _is_off(ws, client),
    ), found.id


def _is_off(ws: Workspace, client: SyncPrefectClient) -> bool:
    found = client.read_automations_by_name(names.data_arrived(ws.config.model.name))
    return bool(found) and not any(one.enabled for one in found)


def _coming(client: SyncPrefectClient, deployment: UUID) -> Iterator[Run]:
    """Runs that are due, and those that have begun and not ended."""
    from prefect.client.schemas.sorting import FlowRunSort

    soon = datetime.now(UTC) + timedelta(seconds=SOON_S)
    for run in _read(client, deployment, COMING, FlowRunSort.EXPECTED_START_TIME_ASC):
        taken = run.state is not None and not run.state.is_scheduled()
        if taken or run.expected_start_time is None or run.expected_start_time <= soon:
            yield Run(str(run.id), taken)


def _latest(client: SyncPrefectClient, deployment: UUID) -> tuple[str, Ended]:
    """The run that ended last, and how."""
    from prefect.client.schemas.sorting import FlowRunSort

    found = _read(client, deployment, ENDED, FlowRunSort.END_TIME_DESC, most=1)
    if not found or found[0].state is None:
        return "", "well"
    state = found[0].state
    if state.type.value == "CRASHED" or state.name in outcomes.HINDERED:
        return str(found[0].id), "hindered"
    well = state.type.value == "COMPLETED" and state.name != outcomes.SKIPPED
    return str(found[0].id), "well" if well else "badly"


def _read(
    client: SyncPrefectClient,
    deployment: UUID,
    types: tuple[str, ...],
    sort: FlowRunSort,
    most: int = MOST,
) -> list[FlowRun]:
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType

    state = filters.FlowRunFilterStateType(any_=[StateType(one) for one in types])
    chosen = filters.FlowRunFilter(
        deployment_id=filters.FlowRunFilterDeploymentId(any_=[deployment]),
        state=filters.FlowRunFilterState(type=state),
    )
    return client.read_flow_runs(flow_run_filter=chosen, sort=sort, limit=most)
