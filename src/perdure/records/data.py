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
class FileRows:
    """How many rows of an experience a file brought."""

    file: str
    rows: int


@dataclass(frozen=True)
class SourceFile:
    """A file whose accepted rows are in an experience, or wait to be."""

    name: str
    content: str
    """SHA-256 of all that the file offered, also the rows whose class was set aside: the same file
    has the same."""
    rows: int
    """Accepted, without those whose class was set aside."""
    aside: tuple[tuple[Label, int], ...] = ()
    """Classes whose rows were set aside, with their rows."""


@dataclass(frozen=True)
class Waiting:
    """The accepted rows of a file that has too few of them to be an experience by itself."""

    number: int
    """Its place in the order of arrival."""
    file: SourceFile
    sha256: str
    """Digest of the rows' canonical content."""
    form: str
    """Form of the schema that they were checked against: rows of another form do not join."""
    classes: tuple[Label, ...]
    """Classes of the rows that the schema did not list."""
    since: str
    """UTC, ISO 8601."""
    path: Path


@dataclass(frozen=True)
class Experience:
    """One batch of data that arrived: immutable, in order."""

    id: str
    """`NNNNNN-<first 8 of sha256>`."""
    number: int
    sha256: str
    """Digest of the accepted rows' canonical content, not of the file's bytes."""
    rows: int
    source: str
    """Name of the file that it came in; of several, in short."""
    path: Path
    files: tuple[SourceFile, ...] = ()
    """The files whose rows it has, in the order of the rows: small ones that waited come first."""
    joined: tuple[Joined, ...] = ()
    """Rows of classes that earlier files had set aside; they are the last rows, in this order."""
    classes: tuple[Label, ...] | None = None
    """Classes of its rows that the schema did not list; None: from before this was written down."""
    split: int = 1
    """The form in which its rows are split into train, validation and test; see
    `tasks.tables.splitting.keys`. 1: from before this was written down."""
    distinct_rows: int | None = None
    """Rows that differ in their features; None: not written down."""

    @property
    def contents(self) -> tuple[str, ...]:
        """SHA-256 of what each of its files offered."""
        return tuple(one.content for one in self.files)


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

    `outcome` is `ingested` (an experience, perhaps less some refused rows, perhaps with the rows
    of earlier files), `joined` (its rows are in the experience of a later file of the same call),
    `waiting` (too few rows; they wait for those of later files), `known` (its content was here
    already) or `quarantined` (refused whole).
    """

    file: str
    outcome: Literal["ingested", "joined", "waiting", "known", "quarantined"]
    experience: str | None
    rows: int
    refused_rows: int
    reasons: tuple[str, ...] = ()
    folder: str | None = None
    """Where the refused part and the table of reasons lie, relative to the workspace."""
    refused_share: float = 0.0
    """Share of the file's rows, from 0 to 1."""
    joined_rows: int = 0
    """Those of `rows` that earlier files brought: small ones that waited, and rows of classes that
    had too few."""
    notes: tuple[str, ...] = ()
    """What is no refusal: how the file was read where that is not as usual, columns left out, words
    that the schema does not list, new classes."""
    distinct_rows: int | None = None
    """Those of `rows` that differ in their features; None of a file that is not ingested."""
    files: tuple[FileRows, ...] = ()
    """For an experience, the files whose rows it has, in the order of the rows; but rows whose
    class had been set aside."""
