"""Opening a workspace to learn in it: its strategies and its own gates are checked too."""

from __future__ import annotations

from perdure.config import Workspace
from perdure.workspace import open_workspace


def open_to_learn(root: str) -> Workspace:
    """Read the configuration of the workspace in a folder, with the settings of strategies.

    That imports torch, so what only reads uses `open_workspace`.

    Args:
        root: The folder.

    Raises:
        UsageError: There is no workspace.
        ConfigError: With every fault and its key.
    """
    from perdure.strategies import catalogue
    from perdure.tasks import own_gates

    return open_workspace(root, [catalogue.check, own_gates.check])
