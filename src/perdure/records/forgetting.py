"""What `perdure forget` found of rows, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FoundIn:
    """Rows that were asked for, in one place."""

    place: str
    """An experience's id, a file that waits, or a folder of the quarantine."""
    rows: int
    """That were asked for."""
    of: int
    """Rows that were there."""
    becomes: str | None = None
    """For an experience: its id without them; None: no row is left."""


@dataclass(frozen=True)
class Forgotten:
    """Rows that are forgotten, or, in a dry run, would be."""

    done: bool
    """False: a dry run; nothing was changed."""
    at: str
    """UTC, ISO 8601."""
    by: str
    reason: str
    wanted_sha256: str
    """Digest of what was asked for: the receipt must not keep it."""
    experiences: tuple[FoundIn, ...]
    waiting: tuple[FoundIn, ...]
    quarantine: tuple[FoundIn, ...]
    """Folders of the quarantine; each goes as a whole."""
    versions: tuple[int, ...]
    """Versions that learned from the rows; they go with their files."""
    champion: int | None
    """That serves from now on; None: none, until the model is learned again."""
    challenger: int | None
    """From which training goes on; None: from a new learner."""
    pending: int
    """Experiences to be learned again."""
    inbox: int
    """Files in the inbox: they are ingested first, and searched then."""
    by_hand: tuple[str, ...]
    """What is left to do: places that Perdure cannot reach, each with what to do there."""
    receipt: str | None = None
    """The file of this record, relative to the workspace."""

    @property
    def rows(self) -> int:
        """Rows that were found, in all places."""
        return sum(one.rows for one in (*self.experiences, *self.waiting, *self.quarantine))
