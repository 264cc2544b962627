"""Who might serve in the champion's place, and what the arriving data has shown of each."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Literal

from perdure.records.base import to_json

Role = Literal["contender", "predecessor", "anchor"]


@dataclass(frozen=True)
class Evidence:
    """An e-process for "the other model is better than the one that serves"."""

    rows: int = 0
    experiences: int = 0
    difference: float = 0.0
    """Mean loss of the model that serves less that of the other one; positive: the other one is
    better. Losses are between 0 and 1."""
    log_wealth: tuple[float, ...] = ()
    """Natural logarithm of the wealth, one for each stake; empty: no row yet."""

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value: of the mean wealth of all stakes; 0 before a row."""
        if not self.log_wealth:
            return 0.0
        most = max(self.log_wealth)
        mean = sum(math.exp(one - most) for one in self.log_wealth) / len(self.log_wealth)
        return most + math.log(mean)

    @property
    def e_value(self) -> float:
        """The wealth of the e-process; 1 before the first row."""
        return math.exp(min(self.log_e, 700.0))


@dataclass(frozen=True)
class Entrant:
    """A version that is measured beside the champion on every arriving experience."""

    version: int
    role: Role
    better: Evidence = Evidence()
    """That it is better than what it would replace; by more than a margin, unless a contender."""
    worse: Evidence = Evidence()
    """For a contender: that it is worse."""
    experience: str | None = None
    """For a contender: what the gates refused it for; held as long."""
    waits: bool = False
    """For a contender: the gates were undecided, and `undecided = "wait"`."""


@dataclass(frozen=True)
class Standing:
    """What an arriving experience showed of one entrant."""

    version: int
    role: Role
    measured: bool
    """Whether the experience was news to it."""
    loss: float | None = None
    """Mean over the experience's rows, between 0 and 1."""
    incumbent_loss: float | None = None
    """Metrics of the version that it would replace, on the same rows."""
    value: float | None = None
    """The configured metric."""
    evidence: float = 1.0
    """The e-value that it is better."""
    against: float = 1.0
    """The e-value that it is worse."""
    rows: int = 0
    """Rows that the evidence stands on."""
    experiences: int = 0


@dataclass(frozen=True)
class Arrival:
    """What an arriving experience showed before anything learned from it."""

    experience: str
    rows: int
    champion: int | None
    champion_value: float | None
    """The configured metric."""
    standings: tuple[Standing, ...] = ()
    action: Literal["none", "promoted", "rolled back", "held"] = "none"
    version: int | None = None
    """The champion or challenger that the action made."""
    let_go: tuple[int, ...] = ()
    """Contenders that are tried no longer."""
    reasons: tuple[str, ...] = field(default_factory=tuple)


@dataclass(frozen=True)
class Tournament:
    """All entrants, as they stand in the registry."""

    measured: int = 0
    """Number of the latest experience that gave evidence: each gives it once."""
    entrants: tuple[Entrant, ...] = ()
    pinned: int | None = None
    """The anchor that a person pinned; None: the anchor moves by itself."""
    promotions: int = 0
    """Since the anchor was set."""
    latest: Arrival | None = None
    """What the latest experience showed."""

    def digest(self) -> str:
        """Sixteen hexadecimal digits: the same for the same entrants with the same evidence."""
        text = json.dumps(to_json(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def of(self, role: Role) -> tuple[Entrant, ...]:
        """The entrants with a role, the longest there first."""
        return tuple(entrant for entrant in self.entrants if entrant.role == role)
