"""Restore: make a workspace of a backup, in an empty folder, that goes on from there."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perdure import config
from perdure.config import Workspace
from perdure.errors import Corrupt, Fault, PerdureError, UsageError
from perdure.flows import backup as layout
from perdure.flows.service import belonging
from perdure.records.safekeeping import Restored
from perdure.tasks import backups, data_versions, experiences
from perdure.tasks.data_versions import copying as data
from perdure.tasks.data_versions.versions import LOCAL_REMOTE
from perdure.tasks.git import bundles
from perdure.tasks.registry import copying as registry
from perdure.tasks.registry import moved

logger = logging.getLogger("perdure")

WAITED = "inbox-restored"
"""What waited in an inbox outside of the workspace: that one is not for a restore to write to."""
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
    _empty(target)
    said = backups.verified(chosen)
    existed = target.exists()
    part = target / PART
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        places = _put_together(chosen, said, part)
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
    return _checked(config.read(target / places.below), chosen, said, places)


def _empty(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is not a folder")
    if target.exists() and any(path.name != PART for path in target.iterdir()):
        raise UsageError(
            f"{target} is not empty; nothing was written",
            hint="choose a folder that does not exist yet",
        )


@dataclass(frozen=True)
class _Places:
    """Where things are."""

    below: Path
    """The workspace, from the top of its repository."""
    waited: Path | None
    """What waited in an inbox that lies outside of the workspace; None: nothing did."""
    store: Path | None
    """The DVC remote, from the workspace; None: it is not in the backup."""


def _put_together(backup: Path, said: dict[str, Any], part: Path) -> _Places:
    """Everything in its place."""
    try:
        below = _inside(part, str(said["folder"]))
        bundles.unbundle(backup / layout.BUNDLE, part, said["branch"], said["head"])
        bundles.add_remotes(part, said["remotes"])
        for name in said["deleted"]:
            _remove(_entry(below, name))
        inbox = _within(below, str(said["inbox"]))
        # One of the first backups does not say where the DVC remote was.
        store = _within(below, str(said.get("store") or LOCAL_REMOTE)) or below / LOCAL_REMOTE
    except (KeyError, TypeError, AttributeError) as error:
        raise Corrupt(
            f"{backup / backups.NOTE} lacks {error}; nothing was written",
            hint=f"ls {backup.parent} shows other backups",
        ) from error
    state = _inside(below, ".perdure")
    state.mkdir(parents=True, exist_ok=True)
    _copy(backup / layout.CHANGED, below, part)
    waited = inbox or _free(below)
    for source, place in (
        (layout.INBOX, waited),
        (layout.DATA, store),
        (layout.ARTIFACTS, state / registry.ARTIFACTS),
    ):
        _copy(backup / source, place, part)
    if (backup / layout.DATABASE).exists():
        shutil.copyfile(backup / layout.DATABASE, state / registry.DATABASE)
    if said.get("store"):
        store.mkdir(parents=True, exist_ok=True)  # it may have been empty
    return _Places(
        below.relative_to(part.resolve()),
        waited=waited.relative_to(below) if inbox is None and waited.is_dir() else None,
        store=store.relative_to(below) if (backup / layout.DATA).is_dir() else None,
    )


def _free(below: Path) -> Path:
    """A folder for what waited in an inbox that lies outside of the workspace."""
    names = (WAITED + (f"-{number}" if number else "") for number in itertools.count())
    return next(below / name for name in names if not os.path.lexists(below / name))


def _remove(path: Path) -> None:
    """A file that was deleted and not committed; or the empty folder that git makes of a module."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _copy(source: Path, place: Path, part: Path) -> None:
    """Copy a folder of the backup; a link that git brought must not lead out of the new folder."""
    for path, name in backups.files(source):
        to = _entry(part, (place / name).relative_to(part.resolve()).as_posix())
        to.parent.mkdir(parents=True, exist_ok=True)
        if to.is_symlink():
            to.unlink()  # one that a file has replaced, and nobody has committed it
        shutil.copy2(path, to)


def _inside(folder: Path, name: str) -> Path:
    """A path below a folder, whatever its name says.

    Raises:
        Corrupt: It would be elsewhere.
    """
    path = _within(folder, name)
    if path is None:
        raise Corrupt(f"the backup names {name}, which is outside of its folder")
    return path


def _entry(folder: Path, name: str) -> Path:
    """The same, of what a folder has by that name: a link itself, not what it leads to."""
    path = Path(name)
    if path.name in ("", ".."):
        raise Corrupt(f"the backup names {name}, which is no file")
    return _inside(folder, path.parent.as_posix()) / path.name


def _within(folder: Path, name: str) -> Path | None:
    """A path below a folder; None: it is elsewhere, by its name or by a link."""
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) else None


def _checked(ws: Workspace, backup: Path, said: dict[str, Any], places: _Places) -> Restored:
    """Bring the data, turn the registry's addresses to this folder, and look at both."""
    lacks = list(said.get("lacks", ()))
    if said.get("registry"):  # its deployments in Prefect stay its own
        belonging.note(belonging.place(ws), str(said["registry"]))
    moved.adopt(ws)
    if places.waited is not None:
        lacks.append(
            f"the inbox {said['inbox']}, which is outside of the workspace: what waited there is "
            f"in {places.waited}/; perdure ingest {places.waited}/* takes it"
        )
    try:
        if places.store is not None:
            data.adopt(ws, ws.root / places.store)
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
