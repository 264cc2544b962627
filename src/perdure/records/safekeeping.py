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
