"""Backups: folders of files with a manifest of digests, several of them in one place."""

from perdure.tasks.backups.draft import BUNDLE, TREE, Draft, files
from perdure.tasks.backups.note import NOTE, Note, read
from perdure.tasks.backups.place import newest, snapshots, writing
from perdure.tasks.backups.unpacking import inside, unpack

__all__ = [
    "BUNDLE",
    "NOTE",
    "TREE",
    "Draft",
    "Note",
    "files",
    "inside",
    "newest",
    "read",
    "snapshots",
    "unpack",
    "writing",
]
