"""Backups: folders of files that a manifest vouches for, each one whole, in one place."""

from perdure.tasks.backups.copying import Copier, files, others
from perdure.tasks.backups.snapshots import (
    NOTE,
    begun,
    hold,
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
    "hold",
    "newest",
    "note",
    "others",
    "prune",
    "sealed",
    "snapshots",
    "verified",
]
