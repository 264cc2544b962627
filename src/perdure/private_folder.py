"""A folder that other users of the machine cannot look into."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def make(folder: Path) -> None:
    """Make a folder where it is missing, and close it to other users.

    A workspace's state has databases, logs and addresses with passwords. What the group of the
    folder may do, it still may.

    Raises:
        OSError: It cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mode = folder.stat().st_mode
    if mode & 0o007:
        with suppress(PermissionError):  # it belongs to another user of the group
            folder.chmod(mode & ~0o007)
