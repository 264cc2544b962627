"""Prune: versions that nothing needs any more are removed, with their files."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime

from perdure.config import Workspace
from perdure.errors import PerdureError
from perdure.flows import decisions, removal
from perdure.flows.line import settle
from perdure.flows.pending import pending
from perdure.orchestration import model_lock
from perdure.records import Registered, Version
from perdure.records.removal import Prunable, Pruned
from perdure.tasks.registry import Registry
from perdure.workspace import open_workspace

logger = logging.getLogger("perdure")

COMMAND = "prune"


def prune(
    workspace: str, keep: int | None = None, keep_days: int | None = None, yes: bool = False
) -> Pruned:
    """Show which versions may go, and remove them if that is wished.

    Args:
        workspace: Folder of the workspace.
        keep: So many of the newest versions that were promoted stay, and so many rollbacks in a
            row; by default `tracking.keep`.
        keep_days: A version stays for so many days after the last event of it; by default
            `tracking.keep_days`.
        yes: Remove them. It cannot be undone.

    Raises:
        LockHeld: Another process works on this model, or a backup copies the versions.
    """
    ws = open_workspace(workspace)
    rules = _rules(ws, keep, keep_days)
    if not yes:
        registry = Registry(ws)
        return _planned(ws, registry, registry.read(), rules)
    with model_lock.hold(ws, COMMAND):
        registry = Registry(ws)
        return _removed(ws, registry, settle(registry), rules)


def after_retraining(ws: Workspace, registry: Registry) -> None:
    """Prune, if `tracking.prune` says so. What goes wrong is logged. Needs the model's lock."""
    if not ws.config.tracking.prune:
        return
    try:
        result = _removed(ws, registry, registry.read(), _rules(ws, None, None))
    except (PerdureError, OSError) as error:
        logger.warning("Old versions were not removed: %s", error)
        return
    if result.goes:
        logger.info("Removed %d old versions, %d bytes.", len(result.goes), result.size)
    for what in result.left:
        logger.warning("Not all of an old version was removed: %s", what)


def _rules(ws: Workspace, keep: int | None, keep_days: int | None) -> decisions.PruneRules:
    settings = ws.config.tracking
    return decisions.PruneRules(
        keep=settings.keep if keep is None else keep,
        days=settings.keep_days if keep_days is None else keep_days,
        at=datetime.now(UTC),
    )


def _removed(
    ws: Workspace, registry: Registry, now: Registered, rules: decisions.PruneRules
) -> Pruned:
    """Remove what may go, and finish what an earlier call began."""
    planned = _planned(ws, registry, now, rules)
    if not planned.goes:
        return replace(planned, removed=True)
    reasons = {one.version: one.reason for one in planned.goes}
    done = removal.remove(ws, registry, reasons, COMMAND)
    gone = [one for one in planned.goes if one.version in done.removed]
    named = [
        replace(one, reason=done.kept[one.version], size=None)
        for one in planned.goes
        if one.version in done.kept
    ]
    return replace(
        planned,
        removed=True,
        goes=tuple(replace(one, size=done.removed[one.version]) for one in gone),
        stays=tuple(sorted((*planned.stays, *named), key=lambda one: one.version)),
        size=sum(done.removed.values()),
        left=tuple(f"version {number}: {why}" for number, why in done.left.items()),
    )


def _planned(
    ws: Workspace, registry: Registry, now: Registered, rules: decisions.PruneRules
) -> Pruned:
    """What may go, and what stays."""
    versions = {one.version: one for one in registry.versions()}
    cut_short = {one.version: one for one in registry.removing()}
    goes, stays = decisions.prunable(
        [*versions.values()],
        now,
        registry.aliases(),
        _recent(registry, rules) if versions else (),
        [one.id for one in pending(ws, now)],
        rules,
    )
    for number in [*goes]:
        if other := registry.elsewhere(versions[number]):
            stays[number] = f"{other} has the same files"
            del goes[number]
    goes |= dict.fromkeys(cut_short, "its removal was cut short")
    known = {**versions, **cut_short}
    going = tuple(
        _shown(known[number], goes[number], registry.size(number)) for number in sorted(goes)
    )
    return Pruned(
        removed=False,
        keep=rules.keep,
        keep_days=rules.days,
        goes=going,
        stays=tuple(_shown(versions[number], stays[number]) for number in sorted(stays)),
        size=sum(one.size or 0 for one in going),
        left=(),
    )


def _recent(registry: Registry, rules: decisions.PruneRules) -> set[int]:
    """The versions that an event names since the rules' time."""
    if not rules.days:
        return set()
    events = registry.since(rules.since.isoformat(timespec="milliseconds"))
    return {n for event in events for n in (event.version, event.replaced) if n is not None}


def _shown(version: Version, reason: str, size: int | None = None) -> Prunable:
    return Prunable(
        version=version.version,
        experience=version.experience,
        verdict=version.verdict,
        promoted=version.promoted,
        created_at=version.created_at,
        reason=reason,
        size=size,
    )
