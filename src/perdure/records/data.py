"""Experiences, the quarantine, and the state of the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Label = str | int | bool
"""A class of a classification."""


@dataclass(frozen=True)
class Joined:
    """Rows of a class that were set aside from one file and joined the experience of another."""

    content: str
    """SHA-256 of what the file that brought them offered."""
    label: Label
    rows: int


@dataclass(frozen=True)
class Aside:
    """Rows of a new class that were set aside from one file, and have joined no experience yet."""

    content: str
    """SHA-256 of what the file offered."""
    label: Label
    rows: int
    path: Path
    """The Parquet file that holds them, perhaps beside rows of other classes."""


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
    offered: str = ""
    """SHA-256 of all that the file offered: also the rows whose class was set aside, and without
    those that joined from earlier files. Empty: it is `sha256`."""
    aside: tuple[tuple[Label, int], ...] = ()
    """Classes of the file whose rows were set aside, with their rows."""
    joined: tuple[Joined, ...] = ()
    """Rows that earlier files had set aside; they are the last rows, in this order."""
    classes: tuple[Label, ...] | None = None
    """Classes of its rows that the schema did not list; None: from before this was written down."""

    @property
    def brought(self) -> str:
        """SHA-256 of what its file offered: the same file has the same."""
        return self.offered or self.sha256


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
    refused_share: float = 0.0
    """Of the file's rows, from 0 to 1."""
    joined_rows: int = 0
    """Those of `rows` that earlier files had set aside, as their class had too few rows then."""
    notes: tuple[str, ...] = ()
    """What is no refusal: columns left out, words that the schema does not list, new classes."""
