"""Experiences, the quarantine, and the state of the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Experience:
    """One batch of data that arrived: immutable, in order."""

    id: str
    """`NNNNNN-<first 8 of sha256>`."""
    number: int
    sha256: str
    """Of the accepted rows' canonical content, not of the file's bytes."""
    rows: int
    source: str
    """Name of the file that it came in."""
    path: Path


@dataclass(frozen=True)
class DataRevision:
    """Which state of the data: the git commit that last changed the pointer, and DVC's hash."""

    git: str | None
    dvc: str | None


@dataclass(frozen=True)
class Quarantined:
    """A file, or the refused rows of one, that was turned away at the door."""

    file: str
    reason: str
    rows: int
    at: str
    """UTC, ISO 8601."""
    folder: str | None = None
    """Where file and reasons lie, relative to the workspace."""
    by: str | None = None


@dataclass(frozen=True)
class Ingested:
    """What became of one file.

    `outcome` is `ingested` (an experience, perhaps less some refused rows), `known` (its
    content was here already) or `quarantined` (refused whole).
    """

    file: str
    outcome: Literal["ingested", "known", "quarantined"]
    experience: str | None
    rows: int
    refused_rows: int
    reasons: tuple[str, ...] = ()
    folder: str | None = None
    """Where the refused part and the table of reasons lie, relative to the workspace."""
