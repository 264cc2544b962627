"""A place of backups: each a folder of its own, which appears whole or not at all."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from perdure import manifest
from perdure.errors import Corrupt, Fault, LockHeld, UsageError
from perdure.tasks.backups.copying import Copier

logger = logging.getLogger("perdure")

NOTE = "backup.json"
FORMAT = 1
_PART = ".part-"
_GONE = ".gone-"


@contextmanager
def hold(place: Path) -> Iterator[None]:
    """Be the one who writes to a folder of backups for the length of the context.

    Args:
        place: The folder; made where it is missing.

    Raises:
        LockHeld: Another backup is being written there.
        Fault: The place cannot be written.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise LockHeld(
            f"another backup is being written to {place}; nothing was changed",
            hint="run the command again when it is done",
        ) from None
    except OSError as error:
        raise Fault(f"{place} cannot be written: {error}", hint="choose another folder") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def begun(place: Path, model: str, *, link: bool = True) -> Iterator[tuple[Copier, Path]]:
    """Begin a backup; at the end of the context it is there, after an error it is not.

    Needs the place to be held.

    Args:
        place: The folder of backups.
        model: The model that it is of.
        link: Whether to link what the backup before has already.

    Returns:
        What copies into it, and the folder that it will be.

    Raises:
        Fault: The place cannot be written, as where the disk is full, or a file not be read.
    """
    try:
        for left in [*place.glob(f"{_PART}*"), *place.glob(f"{_GONE}*")]:
            shutil.rmtree(left)
        final = _free(place, model)
        part = place / f"{_PART}{final.name}"
        part.mkdir(mode=0o700)  # the data may not be for everybody
        try:
            yield Copier(part, *_before(place, model, link)), final
            part.rename(final)
            _sync(place)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    except OSError as error:
        raise Fault(
            f"there is no new backup in {place}: {error}",
            hint=f"df -h {place} tells whether the disk is full; what is there already is whole",
        ) from error


def sealed(copier: Copier, said: Mapping[str, Any]) -> None:
    """Write the note and the manifest: after this nothing may be added."""
    # Which is the newest must not depend on a clock that may have jumped.
    number = 1 + max((note(path)["number"] for path in snapshots(copier.target.parent)), default=0)
    text = json.dumps(
        {"format": FORMAT, "number": number, **said}, indent=1, sort_keys=True, ensure_ascii=False
    )
    (copier.target / NOTE).write_text(text + "\n", encoding="utf-8")
    copier.wrote(NOTE)
    manifest.write(copier.target, known=copier.sums)
    with (copier.target / manifest.NAME).open("rb") as file:
        os.fsync(file.fileno())
    for place, _, _ in os.walk(copier.target):
        _sync(Path(place))


def snapshots(place: Path, model: str | None = None, strict: bool = False) -> tuple[Path, ...]:
    """The backups in a place, oldest first; of one model, or of all.

    One that cannot be read is left out with a warning: it must not be in the way of new ones.

    Raises:
        Corrupt: `strict`, and one cannot be read.
    """
    found = []
    for path in place.iterdir() if place.is_dir() else ():
        if path.name.startswith(".") or not (path / NOTE).is_file():
            continue
        try:
            said = note(path)
        except Corrupt as error:
            if strict:
                raise
            logger.warning("%s", error.message)
            continue
        if model is None or said["model"] == model:
            found.append((int(said["number"]), str(said["at"]), path.name, path))
    return tuple(path for *_, path in sorted(found))


def newest(source: Path) -> Path:
    """A backup itself, or the newest one in a place.

    Raises:
        UsageError: There is none, or those of several models.
    """
    if (source / NOTE).is_file():
        return source
    found = snapshots(source, strict=True)
    if not found:
        raise UsageError(f"there is no backup in {source}", hint=f"perdure backup {source}")
    models = sorted({str(note(path)["model"]) for path in found})
    if len(models) > 1:
        raise UsageError(
            f"{source} has backups of {', '.join(models)}",
            hint=f"perdure restore {found[-1]} DIR chooses one",
        )
    return found[-1]


def note(backup: Path) -> dict[str, Any]:
    """What a backup says of itself.

    Raises:
        Corrupt: It cannot be read.
    """
    try:
        said = json.loads((backup / NOTE).read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            raise ValueError(f"its format is {said['format']}, not {FORMAT}")
        number = int(said.get("number", 0))  # one of the first backups has none
        return {"model": said["model"], "at": said["at"], **said, "number": number}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Corrupt(
            f"{backup / NOTE} cannot be read: {error}; nothing was written",
            hint=f"ls {backup.parent} shows other backups",
        ) from error


def verified(backup: Path) -> dict[str, Any]:
    """What a backup says of itself, after a look at the digest of every file.

    Raises:
        Corrupt: Naming what is missing, changed or unknown.
    """
    said = note(backup)
    try:
        manifest.verify(backup)
    except Corrupt as error:
        raise Corrupt(
            f"{error.message}; nothing was written",
            hint=f"ls {backup.parent} shows other backups",
        ) from error
    return said


def prune(place: Path, model: str, keep: int) -> tuple[str, ...]:
    """Remove all but the newest backups of a model; their names.

    Needs the place to be held: who begins a backup clears away what he finds half removed.

    Raises:
        Fault: One cannot be removed.
    """
    gone = snapshots(place, model)[:-keep]
    try:
        for path in gone:
            hidden = path.with_name(f"{_GONE}{path.name}")  # half a backup must not look like one
            path.rename(hidden)
            shutil.rmtree(hidden)
    except OSError as error:
        raise Fault(
            f"older backups in {place} cannot be removed: {error}",
            hint="what is there is whole, the new one too; remove the older ones by hand",
        ) from error
    return tuple(path.name for path in gone)


def _before(place: Path, model: str, link: bool) -> tuple[Path | None, dict[str, str]]:
    """The newest backup of the model that can be read, and the digests in its manifest."""
    for path in reversed(snapshots(place, model) if link else ()):
        try:
            return path, manifest.sums(path)
        except Corrupt:
            continue
    return None, {}


def _free(place: Path, model: str) -> Path:
    now = datetime.now(UTC)
    while True:
        path = place / f"{model}-{now.strftime('%Y%m%dT%H%M%S')}.{now.microsecond // 1000:03d}Z"
        if not path.exists():
            return path
        now = datetime.now(UTC)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
