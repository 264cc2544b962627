"""The watcher's net: sees what waits, and starts the run that did not come by itself."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from perdure.config import Workspace
from perdure.flows.service.arrivals import Arrivals
from perdure.flows.service.reconcile import (
    GRACE_S,
    UNTAKEN_S,
    Decision,
    IngestHere,
    Reconciler,
    Start,
    Wait,
)
from perdure.flows.service.remote import Remote

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

logger = logging.getLogger("perdure")

TICK_S = 15.0
"""How often it is seen to that nothing was missed."""
SOON_S = 5.0
"""The same while something waits."""
TRIES = 20
"""So many runs of one key may wait for a time to come, each from before the clock was set back."""


class Reconciliation:
    """Gathers the facts, has them decided upon, and does it.

    Args:
        workspace: Gives the workspace as it is configured now.
        arrivals: What lies in the inbox.
        remote: What others have published.
    """

    def __init__(
        self, workspace: Callable[[], Workspace], arrivals: Arrivals, remote: Remote
    ) -> None:
        from perdure.flows.service.facts import Pending

        self.stopped = threading.Event()
        """Set when the watcher ends."""
        self._workspace = workspace
        self._arrivals = arrivals
        self._remote = remote
        self._pending = Pending()
        self._reconciler = Reconciler()
        self._untaken: str | None = None
        """The run that was last said to be taken by no worker."""

    def look(self) -> float:
        """Start what does not come by itself.

        Returns:
            In how many seconds to look again.
        """
        from perdure.flows.service import api, facts

        ws = self._workspace()
        if facts.is_held(ws, "model"):  # the registry is about to change, or being made
            return SOON_S
        pending = self._pending.read(ws)
        inbox, behind = self._arrivals.waiting, self._remote.behind()
        if not inbox.files and not pending[0] and behind[0] is None:
            return TICK_S
        with api.client(ws, retries=0) as client:
            now = time.monotonic()
            found, deployment = facts.gather(ws, client, inbox, pending, now, behind)
            decision = self._reconciler.decide(found)
            if isinstance(decision, Start) and deployment is not None:
                run = started(client, deployment, decision)
                logger.info("Started %s: %s.", run.name, decision.why)
            self._say_untaken(ws, client, decision)
        if isinstance(decision, IngestHere):
            logger.info("Ingesting: %s.", decision.why)
            ingest(ws, self.stopped)
        if isinstance(decision, Wait) and decision.quiet:
            return TICK_S
        waited = SOON_S if inbox.told is None else inbox.told + GRACE_S - now
        return min(SOON_S, waited + 0.1) if waited > 0 else SOON_S

    def _say_untaken(self, ws: Workspace, client: SyncPrefectClient, decision: Decision) -> None:
        """Say once of a run that it waits for a worker; nothing is started while it waits."""
        untaken = decision.untaken if isinstance(decision, Wait) else None
        if untaken is not None and untaken != self._untaken:
            run = client.read_flow_run(UUID(untaken))
            pool = run.work_pool_name or ws.config.resources.pool
            logger.warning(
                "%s has waited for %g s to begin (%s), and everything else with it. "
                "Does a worker run, on any machine? perdure worker --pool %s",
                *(run.name, UNTAKEN_S, run.state_name, pool),
            )
        self._untaken = untaken


def started(client: SyncPrefectClient, deployment: UUID, decision: Start) -> FlowRun:
    """A run of the deployment that is due: new, or that of somebody who decided the same.

    One of the same key that waits for a time to come is from before the clock was set back.
    """
    from perdure.flows.service import facts

    for number in range(TRIES):
        run = client.create_flow_run_from_deployment(
            deployment,
            parameters={"inbox": True, "min_rows": decision.min_rows},
            idempotency_key=f"{decision.key} {number}" if number else decision.key,
        )
        if facts.is_due(run):
            break
    return run


def ingest(ws: Workspace, stopped: threading.Event) -> None:
    """`perdure ingest` in a process of its own, for its memory."""
    command = [sys.executable, "-P", "-m", "perdure", "ingest", "--workspace", str(ws.root)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        if stopped.wait(0.2):
            process.terminate()
            process.wait()
    if process.returncode:
        logger.warning("`perdure ingest` ended with %d.", process.returncode)
