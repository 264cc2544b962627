"""Approve: a flow run that waits until a person approves or refuses a version on Prefect's page.

With `promotion.mode = "manual"`, what passes the gates becomes the challenger, and a retraining
starts this flow for it (`src/perdure/orchestration/approvals.py`). The run is suspended while it
waits: it has no process and holds no lock. When it is answered, a worker runs it again from the
start.
"""

from __future__ import annotations

import logging
from typing import Literal

from perdure import escaping, verdict_table
from perdure.config import Workspace
from perdure.errors import UsageError
from perdure.flows import decisions, pages
from perdure.flows.line import line, settle
from perdure.orchestration import decision_form, engine, model_lock, outcomes
from perdure.orchestration.engine import flow, step
from perdure.orchestration.outcomes import Ending
from perdure.records import Approval, Change, Registered, Version
from perdure.tasks.registry import Registry
from perdure.workspace import actor, open_workspace

logger = logging.getLogger("perdure")

LONGEST_S = 86_400.0
"""How long it waits for a retraining that is under way."""


def _ending(result: Approval) -> Ending:
    return result.outcome.capitalize(), f"Version {result.version}. {result.reason or ''}".strip()


@flow(name="approve", flow_run_name=engine.run_name("approve", "version"), ending=_ending)
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
        return _superseded(ws, now, version)
    if not outcomes.of_a_deployment():
        raise UsageError(
            f"approve waits for an answer on Prefect's page, so it runs from its deployment alone; "
            f"version {version} was left as it is",
            hint=f"perdure promote {version} approves it here",
        )
    answer = decision_form.ask(_page(registry, now, version))
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
    with model_lock.hold(ws, f"{decision} version {version}", wait_s=LONGEST_S):
        registry = Registry(ws)
        now = settle(registry)
        challenger = waiting(now, version)
        if challenger is None:
            return _superseded(ws, now, version)
        if decision == "approve":
            step(registry.download, name="check the learner")(challenger)
        change = _change(registry, now, challenger, decision, reason)
        step(registry.apply, name="move the aliases", retries=2)(change)
    held = tuple(one.id for one in change.hold)
    why = f" {escaping.markdown(reason)}" if reason else ""
    if decision == "approve":
        named = pages.version(ws, version)
        page = f"Version {named} was approved: it is the champion.{why}"
        engine.report(ws, "approve", page, f"Version {version} was approved")
        return Approval(version, "approved", reason)
    back = f"goes on from version {now.champion.version}" if now.champion else "starts over"
    engine.report(
        ws,
        "approve",
        f"Version {version} was refused: training {back}. Held: {', '.join(held) or 'none'}.{why}",
        f"Version {version} was refused",
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
        return decisions.not_approved(now, challenger, reason, actor())
    ancestors = line(registry, challenger)
    return decisions.promoted_by_hand(now, challenger, False, reason, actor(), ancestors)


def _superseded(ws: Workspace, now: Registered, version: int) -> Approval:
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
    engine.report(ws, "approve", f"Nothing was changed: {why}.", "Nothing was changed")
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
