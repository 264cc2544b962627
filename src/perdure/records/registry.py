"""What stands in the registry, and the changes that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perdure.records.base import Action
from perdure.records.data import DataRevision
from perdure.records.learning import Answer, Verdict
from perdure.records.tournament import Role, Tournament


@dataclass(frozen=True)
class Score:
    """How good a version was on its test rows when it was registered."""

    metric: str
    """The configured metric, as it was then."""
    value: float | None
    """Mean over the experiences; None: not a number."""
    baseline: float | None
    """What a constant prediction reaches on the same rows; None: not a number."""
    rows: int
    """Test rows, of all experiences together."""


@dataclass(frozen=True)
class Lineage:
    """What a version was learned from, and how."""

    learning_key: str
    """The identity of the learning step (`training.learning_key`)."""
    parent: int | None
    """The version that training went on from; None: it began with a new learner."""
    experience: str
    """The experience learned."""
    weights_sha256: str
    state_sha256: str
    """Digest of the rest of the learner: memories, optimizer, place in the data."""
    cursor: tuple[str, ...]
    """All experiences learned, in order."""
    data: DataRevision
    code: str | None
    """The workspace's git revision; None: it is no git repository."""
    strategy: tuple[str, ...]
    """Names of the strategies."""
    configuration: Mapping[str, Any] | None = None
    """The settings that decide what is learned, as in the learning key; on the run alone."""
    processes: int = 1
    """How many processes learned it together."""


@dataclass(frozen=True)
class Version:
    """One version in the registry: one learner, whole."""

    version: int
    learning_key: str
    parent: int | None
    experience: str
    weights_sha256: str
    state_sha256: str
    cursor: tuple[str, ...]
    data: DataRevision
    code: str | None
    strategy: tuple[str, ...]
    verdict: Answer | None
    """None: registered, but not yet judged (killed in between)."""
    reasons: tuple[str, ...]
    """Why it was not let through, one per gate; none: it was, though perhaps undecided."""
    replaced: int | None
    """The champion that this version replaced when it was promoted; None: none, or never."""
    run_id: str
    created_at: str
    score: Score | None = None
    """None: an older Perdure registered it."""
    package_sha256: str | None = None
    """Digest of what MLflow wrote around the version folder; None: likewise."""
    manifest_sha256: str | None = None
    """Digest of the version folder's manifest, and so of every file in it; None: likewise."""
    promoted: bool = False
    """It was promoted once, also where it replaced none."""
    processes: int = 1
    """How many processes learned its experience together."""


@dataclass(frozen=True)
class LearningRun:
    """What the run of a learning step says of how it was learned."""

    environment: Mapping[str, str]
    """As `Trained.environment`; empty: an older Perdure ran it, or the run is gone."""
    configuration: Mapping[str, Any] | None
    """As `Lineage.configuration`; None: likewise."""


@dataclass(frozen=True)
class Held:
    """An experience set aside until someone releases it."""

    id: str
    reasons: tuple[str, ...]
    at: str
    by: str
    quarantined: bool = False
    """Set aside by hand with `perdure quarantine`."""


@dataclass(frozen=True)
class Event:
    """One line of the history."""

    at: str
    action: Action
    version: int | None = None
    replaced: int | None = None
    experience: str | None = None
    reason: str | None = None
    by: str | None = None


@dataclass(frozen=True)
class Registered:
    """What the registry says now, read in one go."""

    champion: Version | None
    challenger: Version | None
    champion_since: str | None
    challenger_since: str | None
    held: Mapping[str, Held] = field(default_factory=dict)
    tournament: Tournament = field(default_factory=Tournament)
    entrants: Mapping[int, Version] = field(default_factory=dict)
    """Contenders and anchor, by number."""
    aliases: Mapping[str, int] = field(default_factory=dict)
    """Perdure's aliases as MLflow has them."""
    recorded: Mapping[str, int | None] | None = None
    """Champion and challenger as the last change left them; None: an older Perdure wrote it."""
    changing: bool = False
    """A change is under way, or was cut short."""

    @property
    def moved(self) -> tuple[str, ...]:
        """Which of champion and challenger was moved in MLflow, and not by a change."""
        if self.recorded is None or self.changing:
            return ()
        return tuple(
            alias for alias, number in self.recorded.items() if self.aliases.get(alias) != number
        )

    @property
    def entrants_moved(self) -> bool:
        """Whether an alias of a contender or of the anchor was moved in MLflow."""
        if self.recorded is None or self.changing:
            return False
        roles: dict[Role, tuple[str, ...]] = {
            "contender": ("contender", "contender-2"),
            "anchor": ("anchor",),
        }
        return any(
            {entrant.version for entrant in self.tournament.of(role)}
            != {self.aliases[alias] for alias in aliases if alias in self.aliases}
            for role, aliases in roles.items()
        )


@dataclass(frozen=True)
class Change:
    """Several writes to the registry that belong together.

    Written down first as an intent, then carried out; the next process finishes what was
    cut short. Every write is idempotent.
    """

    key: str
    """Identity of the change; a change with a known key is not carried out twice."""
    expects: Mapping[str, int | None] = field(default_factory=dict)
    """What the aliases must be before; else another process moved them meanwhile."""
    aliases: Mapping[str, int | None] = field(default_factory=dict)
    """Alias to version; None removes it."""
    replaced: Mapping[int, int | None] = field(default_factory=dict)
    """Version to the champion that it replaces."""
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)
    hold: tuple[Held, ...] = ()
    release: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    tournament: Tournament | None = None
    """The entrants and their evidence from now on; None: as they are."""
    expects_tournament: str | None = None
    """Digest of the tournament that this one goes on from: or else evidence that another machine
    wrote meanwhile would be lost."""
    recorded: Mapping[str, int | None] = field(default_factory=dict)
    """Aliases of champion and challenger that are recorded as they stand, and not moved."""
