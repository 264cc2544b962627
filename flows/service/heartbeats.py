"""Flow runs of other machines: a run that lives says so, and one that says nothing has died.

What counts is whether something new was heard while we listened, by a clock that is never set
back. The dates of heartbeats are those of other machines, and while Prefect is away they wait in
the runs that send them, or are lost with a server that ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from perdure.flows.service import events

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

BEAT = "prefect.flow-run.heartbeat"
"""Every 30 s, Prefect's least, which workers and job templates set for their runs."""

SILENCE_S = 180.0
"""After so long without a heartbeat a run is held to be dead. After Prefect was away, Prefect's
client may take a minute to send them again."""

GAP_S = 60.0
"""After so long without a look, listening begins anew: Prefect, or we, were away."""


class Heartbeats:
    """Listens for the heartbeats of flow runs.

    Args:
        clock: In seconds; never set back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked: float | None = None
        self._heard: dict[UUID, tuple[events.Heard, float]] = {}
        """What was last heard of each run, and when that was new."""

    def missing(self, client: SyncPrefectClient, runs: Sequence[FlowRun]) -> list[FlowRun]:
        """Those of which nothing was heard for too long.

        Raises:
            httpx.HTTPError: Prefect does not answer.
        """
        heard = {one.id: events.heard(client, BEAT, f"prefect.flow-run.{one.id}") for one in runs}
        now = self._clock()
        if self._looked is None or now - self._looked > GAP_S:
            self._heard = {}
        self._looked = now
        before = self._heard
        self._heard = {
            id_: before[id_] if before.get(id_, (None,))[0] == what else (what, now)
            for id_, what in heard.items()
        }
        return [one for one in runs if now - self._heard[one.id][1] >= SILENCE_S]
