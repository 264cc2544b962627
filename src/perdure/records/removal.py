"""Versions that are removed, and those that stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from perdure.records.learning import Answer


@dataclass(frozen=True)
class Removal:
    """Versions that were removed, and what of them was not."""

    removed: Mapping[int, int]
    """Bytes of the files of each version that is gone, by its number."""
    kept: Mapping[int, str] = field(default_factory=dict)
    """Why a version stays, by its number: somebody gave it an alias meanwhile."""
    left: Mapping[int, str] = field(default_factory=dict)
    """Why not all files of a version could be removed, by its number. It is not used any more, and
    the next call tries again."""


@dataclass(frozen=True)
class Prunable:
    """A version, and what becomes of it."""

    version: int
    experience: str
    verdict: Answer | None
    promoted: bool
    """It was the champion once."""
    created_at: str
    reason: str
    """Why it goes, or stays."""
    size: int | None = None
    """Bytes of its files, and of those of its run; None: it stays."""


@dataclass(frozen=True)
class Pruned:
    """Versions that go, and those that stay."""

    removed: bool
    """False: it was only shown what would go."""
    keep: int
    """So many of the newest versions that were promoted stay."""
    keep_days: int
    goes: tuple[Prunable, ...]
    stays: tuple[Prunable, ...]
    size: int
    """Bytes of the files of those that go."""
    left: tuple[str, ...]
    """Of which versions not all files could be removed, and why; the next call tries again."""
