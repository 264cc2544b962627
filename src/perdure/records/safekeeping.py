"""What a backup and its restoring did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BackedUp:
    """One backup."""

    path: str
    files: int
    size: int
    """Size of all its files, in bytes."""
    copied: int
    """Bytes of the files that were read; the others are those of the backup before."""
    champion: int | None
    versions: int
    lacks: tuple[str, ...]
    """What is not in it, and how it is kept safe instead."""
    left_out: tuple[str, ...]
    """What was still being written or cannot be read, pipes, repositories, links in the inbox."""
    removed: tuple[str, ...]
    """Names of older backups that were removed."""


@dataclass(frozen=True)
class Migrated:
    """A registry that was copied to another MLflow, or would be."""

    done: bool
    """False: it was only shown what would be copied."""
    model: str
    source: str
    """Address of the registry that is copied, without a password; the same of `target`."""
    target: str
    versions: int
    champion: int | None
    runs: int
    """Runs of learning steps, those of removed versions too, and that of the model's life."""
    events: int
    """Events of the history."""
    size: int
    """Bytes of the versions' files, with those of their runs."""
    goes_on: bool
    """An earlier call was cut short, and this one goes on with its copy."""
    setting: str | None
    """What stands in `[tracking]` of `perdure.toml` afterwards, without a password; None: no `uri`,
    for the target is the workspace's own file."""


@dataclass(frozen=True)
class Restored:
    """A workspace made from a backup."""

    path: str
    backup: str
    at: str
    """When the backup was made; UTC, ISO 8601."""
    model: str
    champion: int | None
    versions: int
    experiences: int
    lacks: tuple[str, ...]
    """What was not in the backup, or could not be fetched."""
