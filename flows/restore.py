"""Restore: make a workspace of a backup, in an empty folder, that goes on from there."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from perdure import config
from perdure.config import Workspace
from perdure.errors import Corrupt, Fault, PerdureError, UsageError
from perdure.flows import backup as layout
from perdure.records.safekeeping import Restored
from perdure.tasks import backups, data_versions, experiences
from perdure.tasks.data_versions.versions import LOCAL_REMOTE
from perdure.tasks.git import bundles
from perdure.tasks.registry import copying as registry
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
        UsageError: There is no backup, or the folder is not empty.
        Corrupt: The backup is not what its manifest says; nothing was written.
        Fault: The folder cannot be written, as where the disk is full; nothing is left there.
    """
    chosen = backups.newest(source)
    target = directory.resolve()
    _empty(target)
    said = backups.verified(chosen)
    existed = target.exists()
    part = target / PART
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        below = _put_together(chosen, said, part)
        for path in sorted(part.iterdir(), key=lambda path: path.name == config.CONFIG_NAME):
            path.rename(target / path.name)
        part.rmdir()
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if not existed and target.exists() and not any(target.iterdir()):
            target.rmdir()
        if isinstance(error, OSError):
            raise Fault(
                f"{target} cannot be written: {error}",
                hint=f"df -h {target.parent} tells whether the disk is full; then again",
            ) from error
        raise
    return _checked(config.read(target / below), chosen, said)


def _empty(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is not a folder")
    if target.exists() and any(path.name != PART for path in target.iterdir()):
        raise UsageError(
            f"{target} is not empty; nothing was written",
            hint="choose a folder that does not exist yet",
        )


def _put_together(backup: Path, said: dict[str, Any], part: Path) -> str:
    """Everything in its place; where the workspace is, below the top."""
    try:
        below = _inside(part, str(said["folder"]))
        bundles.unbundle(backup / layout.BUNDLE, part, said["branch"], said["head"])
        bundles.add_remotes(part, said["remotes"])
        for name in said["deleted"]:
            _remove(_inside(below, name))
        inbox = _inside(below, str(said["inbox"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise Corrupt(
            f"{backup / backups.NOTE} lacks {error}; nothing was written",
            hint=f"ls {backup.parent} shows other backups",
        ) from error
    state = _inside(below, ".perdure")
    state.mkdir(parents=True, exist_ok=True)
    for source, place in (
        (layout.CHANGED, below),
        (layout.INBOX, inbox),
        (layout.DATA, below / LOCAL_REMOTE),
        (layout.ARTIFACTS, state / registry.ARTIFACTS),
    ):
        _copy(backup / source, place, part)
    if (backup / layout.DATABASE).exists():
        shutil.copyfile(backup / layout.DATABASE, state / registry.DATABASE)
    return below.relative_to(part.resolve()).as_posix()


def _remove(path: Path) -> None:
    """A file that was deleted and not committed; or the empty folder that git makes of a module."""
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _copy(source: Path, place: Path, part: Path) -> None:
    """Copy a folder of the backup; a link that git brought must not lead out of the new folder."""
    for path, name in backups.files(source):
        to = _inside(part, (place / name).relative_to(part.resolve()).as_posix())
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, to)


def _inside(folder: Path, name: str) -> Path:
    """A path below a folder, whatever its name says.

    Raises:
        Corrupt: It would be elsewhere.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise Corrupt(f"the backup names {name}, which is outside of its folder")
    return path


def _checked(ws: Workspace, backup: Path, said: dict[str, Any]) -> Restored:
    """Bring the data, turn the registry's addresses to this folder, and look at both."""
    lacks = list(said.get("lacks", ()))
    moved.adopt(ws)
    try:
        if data_versions.missing(ws):
            data_versions.pull(ws)
    except PerdureError as error:  # a remote elsewhere: the next retrain tries again
        logger.warning("%s", error)
        lacks.append(f"the data itself: {error.message}; dvc pull brings it")
    return Restored(
        path=str(ws.root),
        backup=str(backup),
        at=str(said["at"]),
        model=str(said["model"]),
        champion=said.get("champion"),
        versions=int(said.get("versions", 0)),
        experiences=len(experiences.list_experiences(ws)) if ws.data.exists() else 0,
        lacks=tuple(lacks),
    )
