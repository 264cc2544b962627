"""Promote: a person makes a version the champion."""

from __future__ import annotations

from perdure.errors import GateRefused, UsageError
from perdure.flows import decisions, model_lock, prefect_engine
from perdure.flows.line import line, settle
from perdure.flows.prefect_engine import flow, step
from perdure.flows.service import approvals
from perdure.flows.telling import telling
from perdure.flows.workspace import open_workspace, who
from perdure.records import Promoted, Registered
from perdure.tasks.registry import Registry


def run(workspace: str, version: int | None, force: bool, reason: str | None) -> Promoted:
    """`promote` as a flow where Prefect is configured, and directly where it is not."""
    with telling(workspace):
        return prefect_engine.run(
            promote, workspace=workspace, version=version, force=force, reason=reason
        )


@flow(name="promote", flow_run_name=prefect_engine.run_name("promote"))
def promote(
    workspace: str = ".", version: int | None = None, force: bool = False, reason: str | None = None
) -> Promoted:
    """Make a version the champion.

    Args:
        workspace: Folder of the workspace.
        version: The version; by default the challenger, which waits for approval.
        force: Although a gate refused it. Needs a reason.
        reason: Goes into the history.

    Raises:
        GateRefused: A gate refused the version, and `force` is not set.
        UsageError: There is no such version, or a forced promotion without a reason.
        Corrupt: The version's learner is incomplete. Nothing was changed.
    """
    if force and not reason:
        raise UsageError("a forced promotion needs a reason", hint="--force --reason TEXT")
    ws = open_workspace(workspace)
    with model_lock.hold(ws, "promote"):
        registry = Registry(ws)
        now = settle(registry)
        if version is None:
            version = _waiting(now)
        wanted = registry.version(version)
        if now.champion and now.champion.version == version:
            return Promoted(version, None, forced=False, changed=False)
        ancestors = line(registry, now.challenger)
        # Training goes on from a contender that was shown to be better, whatever the gates found.
        refused = wanted.verdict not in ("passed", "undecided") and version not in ancestors
        if refused and not force:
            raise GateRefused(
                f"version {version} was refused: " + ("; ".join(wanted.reasons) or "never judged"),
                hint=f"perdure promote {version} --force --reason TEXT",
            )
        step(registry.download, name="check the learner")(wanted)
        change = decisions.promoted_by_hand(now, wanted, refused, reason, who(), ancestors)
        step(registry.apply, name="move the aliases", retries=2)(change)
        replaced = change.replaced[version]
    if prefect_engine.in_flow_run():
        approvals.settle(ws)
    prefect_engine.report(
        f"Version {version} is the champion; it replaced {replaced or 'none'}. {reason or ''}",
        "promote",
    )
    return Promoted(version, replaced, forced=refused, changed=True)


def _waiting(now: Registered) -> int:
    """The challenger, which has passed the gates and does not serve yet."""
    if now.challenger is None:
        raise UsageError("there is no challenger to promote", hint="perdure status")
    return now.challenger.version
