"""What a version learned from, what served at a time, and whether a version is what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from perdure.records.data import FileRows, Quarantined
from perdure.records.learning import Answer, Verdict
from perdure.records.results import Check

State = Literal["learned", "pending", "held", "quarantined"]
"""Of an experience. Learned: the challenger, from which training goes on, has learned from it."""


@dataclass(frozen=True)
class TracedExperience:
    """An experience that was asked for, that has rows of a file, or that a version learned."""

    id: str
    state: State
    reasons: tuple[str, ...]
    """Why it is held or in quarantine."""
    rows: int | None
    """None: it is not on this machine."""
    files: tuple[FileRows, ...]
    """Whose rows it has; without those of classes that had been set aside."""
    versions: tuple[int, ...]
    """Every registered version that has learned from it."""


@dataclass(frozen=True)
class TracedVersion:
    """A version that learned from what was asked for."""

    version: int
    experience: str
    """What it learned last."""
    verdict: Answer | None
    aliases: tuple[str, ...]
    """Where it serves or takes part now."""
    created_at: str


@dataclass(frozen=True)
class WaitingRows:
    """Rows of a file that nothing learned from yet."""

    file: str
    rows: int | None
    """None: the file is in the inbox, and was not read yet."""
    since: str | None


@dataclass(frozen=True)
class Traced:
    """What came of a file or an experience, or what a version came of."""

    asked: str
    kind: Literal["file", "experience", "version"]
    experiences: tuple[TracedExperience, ...]
    versions: tuple[TracedVersion, ...]
    refused: tuple[Quarantined, ...]
    """What of a file was turned away at the door."""
    waiting: tuple[WaitingRows, ...]


@dataclass(frozen=True)
class ServedThen:
    """What served at a time."""

    at: str
    """The time that was asked for, UTC."""
    version: int | None
    """None: nothing did, for the champion's alias was removed in MLflow, or `perdure forget` left
    no version."""
    since: str
    until: str | None
    """None: it serves still."""
    action: str
    """How it came to serve, as the history has it."""
    by: str | None
    reason: str | None
    experience: str | None
    """What it had learned last."""
    verdict: Verdict | None
    """What the gates said of it; None: not judged, by an older Perdure, or it is removed."""
    registered: bool
    """Whether the version is still in the registry."""
    moved_in_mlflow: bool
    """An alias stands elsewhere now than the history says: the next retraining records it."""


@dataclass(frozen=True)
class Verified:
    """Whether a version is what the registry and its lineage say."""

    version: int
    ok: bool
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Machine:
    """One thing of the machine that decides the bits of a training."""

    name: str
    then: str | None
    """None: an older Perdure did not record it."""
    now: str


@dataclass(frozen=True)
class Reproduced:
    """A version that was trained again."""

    version: int
    outcome: Literal["same", "other", "impossible"]
    """Other: it was trained, and other bits came out. Impossible: it was not trained."""
    reasons: tuple[str, ...]
    """Why it could not be, or what differs."""
    weights_sha256: str | None
    state_sha256: str | None
    """Of what was trained now; None: nothing was."""
    configuration: Literal["of now", "as committed then"] | None
    """With which configuration, and files of one's own, it was trained; None: it was not."""
    machine: tuple[Machine, ...]
    """On what it was trained then and now; empty: it was not trained."""
