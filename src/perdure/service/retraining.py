"""Starts the retraining: reads the state, has the policy decide, and does it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from perdure.config import Workspace
from perdure.service.arrivals import Arrivals, Waiting
from perdure.service.loops import run_command
from perdure.service.policy import LONGEST_WHILE_AWAY_S, UNTAKEN_S, Policy, Start, Wait
from perdure.service.remote import Remote
from perdure.tasks import locks

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

logger = logging.getLogger("perdure")

TICK_S = 15.0
"""How often it is seen to that nothing was missed."""
SOON_S = 5.0
"""How often while something waits."""


class Retraining:
    """Starts retrainings of one workspace.

    Args:
        workspace: Gives the workspace as it is configured now.
        arrivals: What lies in the inbox.
        remote: What others have published.
        stopped: Set when the watcher ends.
    """

    def __init__(
        self,
        workspace: Callable[[], Workspace],
        arrivals: Arrivals,
        remote: Remote,
        stopped: threading.Event,
    ) -> None:
        from perdure.service.state import Pending

        self._workspace = workspace
        self._arrivals = arrivals
        self._remote = remote
        self._stopped = stopped
        self._pending = Pending()
        self._policy = Policy()
        self._ingested: tuple[Waiting, float] = Waiting(), 0.0
        """What this machine tried to ingest last, and when."""
        self._untaken: str | None = None
        """The run of which the log says that no worker takes it."""

    def look(self) -> float:
        """Start what is to be started.

        Returns:
            In how many seconds to look again.
        """
        from perdure.orchestration import api
        from perdure.service import state

        ws = self._workspace()
        if locks.is_held(ws, "model"):  # the registry is about to change, or being made
            return SOON_S
        inbox = self._arrivals.waiting
        if ws.config.shared.git_remote is not None and inbox.files:
            # A worker of another machine would look into its own inbox.
            tried, at = self._ingested
            if inbox != tried or time.monotonic() >= at + LONGEST_WHILE_AWAY_S:
                self._ingested = inbox, time.monotonic()
                ingest(ws, self._stopped)
            inbox = Waiting()
        pending, behind = self._pending.read(ws), self._remote.behind()
        if not inbox.files and not pending[0] and behind[0] is None:
            return TICK_S
        with api.client(ws, retries=0) as client:
            now = time.monotonic()
            facts, deployment = state.gather(ws, client, inbox, pending, now, behind)
            decision = self._policy.decide(facts)
            if isinstance(decision, Start) and deployment is not None:
                run = client.create_flow_run_from_deployment(
                    deployment,
                    parameters={"inbox": True, "min_rows": decision.min_rows},
                    idempotency_key=decision.key,
                )
                logger.info("Started %s: %s.", run.name, decision.reason)
            elif isinstance(decision, Wait):
                self._log_untaken(ws, client, decision)
        return TICK_S if isinstance(decision, Wait) and decision.quiet else SOON_S

    def _log_untaken(self, ws: Workspace, client: SyncPrefectClient, decision: Wait) -> None:
        """Log once that a run waits for a worker; nothing is started while it waits."""
        if decision.untaken is not None and decision.untaken != self._untaken:
            run = client.read_flow_run(UUID(decision.untaken))
            pool = run.work_pool_name or ws.config.resources.pool
            logger.warning(
                "%s has waited for %g s to begin (%s), and everything else with it. "
                "Does a worker run, on any machine? perdure worker --pool %s",
                *(run.name, UNTAKEN_S, run.state_name, pool),
            )
        self._untaken = decision.untaken


def ingest(ws: Workspace, stopped: threading.Event) -> None:
    """Ingest what lies in the inbox, by the command."""
    code = run_command(ws, "ingest", stopped)
    if code not in (0, 3):  # 3: a file, or rows of one, were refused
        logger.warning("`perdure ingest` ended with %d.", code)
