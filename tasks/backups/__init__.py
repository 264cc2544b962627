"""Backups: folders of files that a manifest vouches for, each one whole, in one place."""

from perdure.tasks.backups.copying import Copier, files
from perdure.tasks.backups.snapshots import (
    NOTE,
    begun,
    newest,
    note,
    prune,
    sealed,
    snapshots,
    verified,
)

__all__ = [
    "NOTE",
    "Copier",
    "begun",
    "files",
    "newest",
    "note",
    "prune",
    "sealed",
    "snapshots",
    "verified",
]
