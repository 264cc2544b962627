"""Restore: make a workspace of a backup, in an empty folder, that goes on from there."""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from pathlib import Path

from perdure import config, manifest
from perdure.config import Workspace
from perdure.errors import Corrupt, Fault, PerdureError, UsageError
from perdure.records.safekeeping import Restored
from perdure.tasks import backups, data_versions, experiences
from perdure.tasks.backups import BUNDLE, Note
from perdure.tasks.data_versions import copying as data
from perdure.tasks.git import bundles
from perdure.tasks.registry import moved

logger = logging.getLogger("perdure")

PART = ".perdure-restoring"
"""Where it is put together, inside the folder: renamed from there, nothing is copied twice."""


def restore(source: Path, directory: Path) -> Restored:
    """Make a workspace of a backup.

    Every file of the backup is looked at first. What is killed while it copies begins afresh
    with the same command; killed in the moment of the last renames, the folder is to be removed
    first. The configuration is put there last, so it does not look like a workspace until it is.

    Args:
        source: A backup, or a folder of backups: then the newest one.
        directory: A folder that is empty, or does not exist. Where the workspace lay below the
            top of its git repository, it does so again.

    Raises:
        UsageError: There is no backup, or the folder is not empty, or no place for a workspace.
        Corrupt: The backup is not what its manifest says; nothing was written.
        Fault: The folder cannot be written, as where the disk is full; nothing is left there.
    """
    chosen = backups.newest(source)
    target = config.place(directory)
    _check_empty(target)
    note = backups.read(chosen)
    try:
        manifest.verify(chosen)
    except Corrupt as error:
        hint = f"nothing was written; ls {chosen.parent} shows other backups"
        raise Corrupt(error.message, hint=hint) from error
    existed = target.exists()
    part = target / PART
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        note = _put_together(chosen, note, part)
        for path in sorted(part.iterdir(), key=lambda path: path.name == config.CONFIG_NAME):
            path.rename(target / path.name)
    except OSError as error:
        raise Fault(
            f"{target} cannot be written: {error}",
            hint=f"df -h {target.parent} shows whether the disk is full; then again",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if not existed:
            with suppress(OSError):  # it is not empty
                target.rmdir()
    return _adopt(config.read(target / note.folder), chosen, note)


def _check_empty(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is not a folder")
    if target.exists() and any(path.name != PART for path in target.iterdir()):
        raise UsageError(
            f"{target} is not empty; nothing was written",
            hint="choose a folder that does not exist yet",
        )


def _put_together(backup: Path, note: Note, part: Path) -> Note:
    """Make the repository, and put the workspace's files into it."""
    bundles.unbundle(backup / BUNDLE, part, note.branch, note.head)
    bundles.add_remotes(part, note.remotes)
    root = part
    if note.folder != "." or note.format == 1:
        bundles.check_out(part)
        root = backups.inside(part, f"{note.folder}/{config.CONFIG_NAME}").parent
        if note.format != 1:
            shutil.rmtree(root, ignore_errors=True)  # the tree has all that was there
    return backups.unpack(backup, note, root)


def _adopt(ws: Workspace, backup: Path, note: Note) -> Restored:
    """Turn the registry's addresses to this folder, and bring the data."""
    lacks = list(note.lacks)
    moved.adopt(ws)
    try:
        if note.store is not None:
            data.adopt(ws, ws.root / note.store)
        if data_versions.missing(ws):
            data_versions.pull(ws)
    except PerdureError as error:  # a remote elsewhere: the next retrain tries again
        logger.warning("%s", error)
        lacks.append(f"the data itself: {error.message}; dvc pull brings it")
    return Restored(
        path=str(ws.root),
        backup=str(backup),
        at=note.at,
        model=note.model,
        champion=note.champion,
        versions=note.versions,
        experiences=len(experiences.list_experiences(ws)) if ws.data.exists() else 0,
        lacks=tuple(lacks),
    )
