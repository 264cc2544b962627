"""A place of backups: each is a folder of its own, which appears whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from perdure.errors import Fault, LockHeld, UsageError
from perdure.tasks.backups.draft import Draft
from perdure.tasks.backups.note import NOTE

_PART = ".part-"
"""Begins the name of what is half written, or half removed."""


@contextmanager
def writing(place: Path, model: str, *, link: bool, keep: int | None) -> Iterator[Draft]:
    """Write a backup: at the end of the context it is there, after an error it is not.

    Args:
        place: The folder of backups; made where it is missing.
        model: The model that it is of.
        link: Whether to link what the backup before has already.
        keep: How many of the newest backups of the model stay; None: all.

    Returns:
        What is to be filled, and sealed.

    Raises:
        LockHeld: Another backup is being written there.
        Fault: The place cannot be written, as where the disk is full, or a file not be read.
    """
    now = datetime.now(UTC)
    name = f"{model}-{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03d}Z"
    part = place / f"{_PART}{name}"
    try:
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / ".lock", timeout=0):
            for left in place.glob(f"{_PART}*"):
                shutil.rmtree(left)
            own = [path for path in snapshots(place) if _model(path) == model]
            draft = Draft(part, name, before=own[-1] if own and link else None)
            try:
                part.mkdir(mode=0o700)  # the data may not be for everybody
                yield draft
                part.rename(place / name)
            finally:
                shutil.rmtree(part, ignore_errors=True)
            for path in own[: max(0, len(own) + 1 - keep)] if keep else ():
                shutil.rmtree(path.rename(path.with_name(f"{_PART}{path.name}")))
                draft.removed.append(path.name)
    except Timeout:
        raise LockHeld(
            f"another backup is being written to {place}; nothing was changed",
            hint="run the command again when it is done",
        ) from None
    except OSError as error:
        raise Fault(
            f"the backup to {place} did not end: {error}",
            hint=f"df -h {place} shows whether the disk is full; the backups in it are whole",
        ) from error


def newest(source: Path) -> Path:
    """Return a backup itself, or the newest one in a place.

    Raises:
        UsageError: There is none, or those of several models.
    """
    if (source / NOTE).is_file():
        return source
    found = snapshots(source)
    if not found:
        raise UsageError(f"there is no backup in {source}", hint=f"perdure backup {source}")
    models = sorted({_model(path) for path in found})
    if len(models) > 1:
        raise UsageError(
            f"{source} has backups of {', '.join(models)}",
            hint=f"perdure restore {found[-1]} DIR chooses one",
        )
    return found[-1]


def snapshots(place: Path) -> list[Path]:
    """Return the backups in a place, oldest first."""
    paths = place.glob("[!.]*") if place.is_dir() else ()
    return sorted((path for path in paths if (path / NOTE).is_file()), key=_time)


def _model(backup: Path) -> str:
    return backup.name.rpartition("-")[0]


def _time(backup: Path) -> str:
    return backup.name.rpartition("-")[2]
