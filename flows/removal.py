"""Removing versions, while no backup copies their files."""

from __future__ import annotations

from collections.abc import Mapping

from perdure.config import Workspace
from perdure.records.removal import Removal
from perdure.tasks import locks
from perdure.tasks.registry import Registry
from perdure.workspace import actor


def remove(ws: Workspace, registry: Registry, reasons: Mapping[int, str], command: str) -> Removal:
    """Remove versions with all their files; see `Registry.remove`. Needs the model's lock.

    Args:
        ws: The workspace.
        registry: Its registry.
        reasons: Why each version is removed, by its number.
        command: Which command removes them.

    Raises:
        LockHeld: A backup copies the files of the versions; nothing was removed.
    """
    with locks.hold(ws, "versions", command):
        return registry.remove(reasons, command, actor())
