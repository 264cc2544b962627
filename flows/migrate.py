"""Migrate: copy the model's registry to another MLflow, where the workspace can go on."""

from __future__ import annotations

import logging

from perdure.config import Workspace
from perdure.orchestration import model_lock
from perdure.records.safekeeping import Migrated
from perdure.tasks.registry import Registry
from perdure.tasks.registry.migrating import Migration, Plan
from perdure.workspace import actor, open_workspace

logger = logging.getLogger("perdure")

COMMAND = "migrate"


def migrate(workspace: str, to: str, yes: bool = False) -> Migrated:
    """Show what would be copied to another MLflow, and copy it if that is wished.

    The registry of the workspace stays as it is, and so does `perdure.toml`. Killed anywhere, the
    same call goes on from there.

    Args:
        workspace: Folder of the workspace.
        to: The tracking URI of the other MLflow, as `tracking.uri` has it.
        yes: Copy it.

    Raises:
        UsageError: There is nothing to copy, or the target has a model of that name.
        LockHeld: Another process works on this model.
        Corrupt: A version is not what was registered, or a copy is not the same.
        Unreachable: One of the two does not answer.
    """
    ws = open_workspace(workspace)
    migration = Migration(ws, to)
    if not yes:
        return _shown(ws, migration.plan(), done=False)
    with model_lock.hold(ws, COMMAND):
        plan = migration.plan()
        logger.info("Copying %d versions to %s", len(plan.versions), plan.target)
        migration.copy(actor())
        return _shown(ws, plan, done=True)


def _shown(ws: Workspace, plan: Plan, *, done: bool) -> Migrated:
    champion = Registry(ws).aliases().get("champion")
    return Migrated(
        done=done,
        model=ws.config.model.name,
        source=plan.source,
        target=plan.target,
        versions=len(plan.versions),
        champion=champion,
        runs=plan.runs,
        events=plan.events,
        size=plan.size,
        goes_on=plan.goes_on,
        setting=None if plan.own_file else f'uri = "{plan.target}"',
    )
