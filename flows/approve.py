"""Approve: a flow run that waits until a person approves or refuses a version on Prefect's page.

With `promotion.mode = "manual"`, what passes the gates becomes the challenger, and a retraining
starts this flow for it (`flows/service/approvals.py`). The run is suspended while it waits: it has
no process and holds no lock. When it is answered, a worker runs it again from the start.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from pydantic import Field

from perdure import verdict_table
from perdure.config import Workspace
from perdure.errors import LockHeld, UsageError
from perdure.flows import decisions, model_lock, prefect_engine
from perdure.flows.line import line, settle
from perdure.flows.prefect_engine import flow, step
from perdure.flows.workspace import open_workspace, who
from perdure.records import Approval, Change, Registered, Version
from perdure.tasks.registry import Registry

logger = logging.getLogger("perdure")

PAUSE = "approval"
"""Prefect's key of the one pause of a run: reached again, it gives the answer."""
LOOK_S = 5.0
"""How often an answered run asks for the model's lock."""
LONGEST_S = 86_400.0
"""How long it waits for a retraining that is under way."""


class Decision(RunInput):
    """What a person decides about a version, as Prefect's page asks for it."""

    decision: Literal["approve", "refuse"] = Field(
        description="approve: it becomes the champion. refuse: training goes back to the champion,"
        " and what only this version has learned is held."
    )
    reason: str = Field(default="", description="Goes into the history.")


def _run_name() -> str:
    """A flow-run name such as `approve weather version 4`."""
    from prefect.runtime import flow_run

    return f"{prefect_engine.run_name('approve')()} version {flow_run.parameters.get('version')}"


@flow(name="approve", flow_run_name=_run_name)
def approve(workspace: str = ".", *, version: int) -> Approval:
    """Wait until a person approves or refuses a version, and do it.

    Approved, it becomes the champion, as by `perdure promote`. Refused, training goes back to the
    champion, and what only this version has learned is held, as by `perdure rollback --to`. Where
    it does not wait any more, nothing is changed.

    Args:
        workspace: Folder of the workspace.
        version: The challenger, which waits for approval.

    Raises:
        UsageError: It was not started from its deployment, so it cannot wait.
        LockHeld: Another process worked on the model for a day after the answer.
        Corrupt: The version's learner is incomplete. Nothing was changed.
    """
    ws = open_workspace(workspace)
    registry = Registry(ws)
    now = registry.read()
    if waiting(now, version) is None:
        return _superseded(now, version)
    if not prefect_engine.is_of_a_deployment():
        raise UsageError(
            f"approve waits for an answer on Prefect's page, so it runs from its deployment alone; "
            f"version {version} was left as it is",
            hint=f"perdure promote {version} approves it here",
        )
    form = Decision.with_initial_data(description=_page(registry, now, version))
    # Ends this process. When the run is answered, the flow begins again and gets here.
    answer = suspend_flow_run(wait_for_input=form, key=PAUSE)
    return decided(ws, version, answer.decision, answer.reason.strip() or None)


def waiting(now: Registered, version: int) -> Version | None:
    """The challenger, if it is this version and does not serve; None: it waits no more."""
    challenger = now.challenger
    if challenger is None or challenger.version != version:
        return None
    return None if now.champion and now.champion.version == version else challenger


def decided(
    ws: Workspace, version: int, decision: Literal["approve", "refuse"], reason: str | None
) -> Approval:
    """Carry out what a person decided, unless the version waits no more.

    Args:
        ws: The workspace.
        version: The version that was asked about.
        decision: What to do.
        reason: Goes into the history.
    """
    with _lock(ws, f"{decision} version {version}"):
        registry = Registry(ws)
        now = settle(registry)
        challenger = waiting(now, version)
        if challenger is None:
            return _superseded(now, version)
        if decision == "approve":
            step(registry.download, name="check the learner")(challenger)
        change = _change(registry, now, challenger, decision, reason)
        step(registry.apply, name="move the aliases", retries=2)(change)
    held = tuple(one.id for one in change.hold)
    why = f" {verdict_table.escape(reason)}" if reason else ""
    if decision == "approve":
        prefect_engine.report(
            f"Version {version} was approved: it is the champion.{why}", "approve"
        )
        return Approval(version, "approved", reason)
    back = f"goes on from version {now.champion.version}" if now.champion else "begins anew"
    prefect_engine.report(
        f"Version {version} was refused: training {back}. Held: {', '.join(held) or 'none'}.{why}",
        "approve",
    )
    return Approval(version, "refused", reason, held)


def _change(
    registry: Registry,
    now: Registered,
    challenger: Version,
    decision: Literal["approve", "refuse"],
    reason: str | None,
) -> Change:
    if decision == "refuse":
        return decisions.not_approved(now, challenger, reason, who())
    ancestors = line(registry, challenger)
    return decisions.promoted_by_hand(now, challenger, False, reason, who(), ancestors)


def _superseded(now: Registered, version: int) -> Approval:
    """Say why nothing is changed."""
    champion = now.champion.version if now.champion else None
    challenger = now.challenger.version if now.challenger else None
    why = (
        f"version {version} is the champion already"
        if champion == version
        else f"version {version} does not wait for approval any more: the champion is "
        f"{champion or 'none'}, the challenger {challenger or 'none'}"
    )
    logger.warning("Nothing was changed: %s", why)
    prefect_engine.report(f"Nothing was changed: {why}.", "approve")
    return Approval(version, "superseded", why)


def _page(registry: Registry, now: Registered, version: int) -> str:
    """What a person sees beside the form, in Markdown."""
    champion = now.champion.version if now.champion else None
    serves = f"Version {champion} serves." if champion else "No version serves yet."
    verdict = registry.verdict(version)
    table = verdict_table.markdown(verdict) if verdict else "The gates' table was not kept."
    if verdict and verdict.answer == "refused":
        table += "\n\nA gate refused it; since then it was shown to be better on unseen data."
    return (
        f"Version {version} waits for approval. {serves}\n\n{table}\n\n"
        f"All numbers: `perdure show {version}`. The same by command: `perdure promote {version}`"
        + (f", or `perdure rollback --to {champion} --reason TEXT`." if champion else ".")
    )


@contextmanager
def _lock(ws: Workspace, purpose: str) -> Iterator[None]:
    """Hold the model's lock; a retraining that is under way is waited for."""
    deadline = time.monotonic() + LONGEST_S
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(model_lock.hold(ws, purpose))
                break
            except LockHeld as error:
                if time.monotonic() > deadline:
                    raise
                logger.info("Waiting: %s", error.message)
                time.sleep(LOOK_S)
        yield
