"""Promote: a person makes a version the champion."""

from __future__ import annotations

from perdure import escaping
from perdure.errors import GateRefused, UsageError
from perdure.flows import decisions, pages
from perdure.flows.line import line, settle
from perdure.orchestration import approvals, engine, model_lock, rollback_form
from perdure.orchestration.engine import flow, step
from perdure.orchestration.outcomes import Ending
from perdure.records import Promoted, Registered
from perdure.tasks.registry import Registry
from perdure.workspace import actor, open_workspace


def run(
    workspace: str, version: int | None, force: bool, reason: str | None, wait: float = 0.0
) -> Promoted:
    """`promote` as a flow where Prefect is configured, and directly where it is not."""
    return engine.run(
        promote, workspace=workspace, version=version, force=force, reason=reason, wait=wait
    )


def _ending(result: Promoted) -> Ending:
    if not result.changed:
        return "Nothing to do", f"Version {result.version} is the champion already."
    return "Promoted", f"Version {result.version} serves, in place of {result.replaced or 'none'}."


@flow(name="promote", flow_run_name=engine.run_name("promote"), ending=_ending)
def promote(
    workspace: str = ".",
    version: int | None = None,
    force: bool = False,
    reason: str | None = None,
    wait: float = 0.0,
) -> Promoted:
    """Make a version the champion.

    Args:
        workspace: Folder of the workspace.
        version: The version; by default the challenger, which waits for approval.
        force: Although a gate refused it. Needs a reason.
        reason: Goes into the history.
        wait: How many seconds to wait where another process works on the model.

    Raises:
        GateRefused: A gate refused the version, and `force` is not set.
        UsageError: There is no such version, or a forced promotion without a reason.
        Corrupt: The version's learner is incomplete. Nothing was changed.
    """
    if force and not reason:
        raise UsageError("a forced promotion needs a reason", hint="--force --reason TEXT")
    ws = open_workspace(workspace)
    with model_lock.hold(ws, "promote", wait_s=wait):
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
        change = decisions.promoted_by_hand(now, wanted, refused, reason, actor(), ancestors)
        step(registry.apply, name="move the aliases", retries=2)(change)
        replaced = change.replaced[version]
    if engine.in_flow_run():
        approvals.settle(ws)
        rollback_form.refresh(ws)
    why = escaping.markdown(reason) if reason else ""
    engine.report(
        ws,
        "promote",
        f"Version {pages.version(ws, version)} is the champion; it replaced "
        f"{pages.version(ws, replaced)}. {why}",
        f"Version {version} is the champion",
    )
    return Promoted(version, replaced, forced=refused, changed=True)


def _waiting(now: Registered) -> int:
    """The challenger, which has passed the gates and does not serve yet."""
    if now.challenger is None:
        raise UsageError("there is no challenger to promote", hint="perdure status")
    return now.challenger.version
