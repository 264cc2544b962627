"""When a retraining is started: decided from what waits, from the model's lock, and by a clock.

An event may be lost, its automation may be late, a run may be killed. So the watcher looks at what
waits, and starts a run where the model's lock is free and no run was started a moment ago. What
Prefect believes of a run that was taken long ago does not count. To start one too early, or twice,
does no harm: a retraining learns what is pending, and ends at once where another one is at work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from perdure.backoff import doubled

FIRST_PAUSE_S = 15.0
"""After a run that changed nothing; it doubles with each that follows."""
LONGEST_PAUSE_S = 600.0
LONGEST_WHILE_AWAY_S = 90.0
"""Pause after a run that was killed, or for which an outside system was away: it may be back at
any time."""
LONGEST_IN_VAIN_S = 3600.0
"""Pause after a run that ended well and left what waits: a file that may not be removed needs a
person's hand."""
TAKEN_PAUSE_S = 150.0
"""The first pause while the slot of the model's lock at Prefect is taken: a run that finds it so
after such a time takes over the slot of a holder that died."""
STARTING_S = 60.0
"""A run that a worker has taken holds the model's lock within this."""
UNTAKEN_S = 300.0
"""A run that has waited for so long is one that no worker takes."""


Ended = Literal["well", "badly", "hindered"]
"""How a run ended; `hindered`: an outside system was away, or the run was killed."""


_LONGEST: dict[Ended, float] = {
    "well": LONGEST_IN_VAIN_S,
    "badly": LONGEST_PAUSE_S,
    "hindered": LONGEST_WHILE_AWAY_S,
}


@dataclass(frozen=True)
class Run:
    """A flow run of the deployment `retrain` that is due, or was taken and has not ended."""

    id: str
    taken: bool
    """By a worker."""


@dataclass(frozen=True)
class Facts:
    """What is so at one moment. Moments are seconds of a clock that is never set back."""

    now: float
    inbox: Mapping[str, str] = field(default_factory=dict)
    """Files that wait, are complete, and have rested: fingerprint by name."""
    inbox_since: float = 0.0
    pending: Mapping[str, int | None] = field(default_factory=dict)
    """Rows of each experience that waits to be learned; None: not known."""
    pending_s: float = 0.0
    """How long the oldest of them has been there."""
    behind: str | None = None
    """The commit of the git remote that is not here; a run brings it."""
    behind_s: float = 0.0
    """For how long that is known."""
    locked: bool = False
    """A process of this machine holds the model's lock."""
    taken: bool = False
    """Its slot at Prefect is taken: by another machine, or by one that died."""
    runs: Sequence[Run] = ()
    """Those that are due or were taken."""
    latest: str = ""
    """The run of the deployment that ended last."""
    ended: Ended = "well"
    """How it did."""
    deployed: bool = True
    paused: bool = False
    """By a person: the deployment, or what starts it on new data."""
    debounce: float = 10.0
    max_wait: float = 600.0
    min_rows: int = 0


@dataclass(frozen=True)
class Start:
    """Start the deployment `retrain`."""

    min_rows: int
    key: str
    """Idempotency key: equal for two watchers in one state; another one for each try."""
    reason: str


@dataclass(frozen=True)
class Wait:
    """Start nothing."""

    reason: str
    quiet: bool = False
    """Nothing waits at all."""
    untaken: str | None = None
    """The id of a run that no worker takes."""


Decision = Start | Wait


@dataclass
class Policy:
    """Decides from facts, and remembers what it started for them."""

    _state: str = ""
    _since: float = 0.0
    _tries: int = 0
    """Runs that were started since the facts became as they are."""
    _tried: float = 0.0
    """When the last of them was."""
    _seen: dict[Run, float] = field(default_factory=dict)
    """Since when each run is as it is."""
    _behind: tuple[str | None, str] = (None, "")
    """What the remote has that is not here, and which run had ended last when that was seen."""

    def decide(self, facts: Facts) -> Decision:
        """Say what to do now; a `Start` counts as carried out."""
        facts = self._without_brought(facts)
        self._remember(facts)
        if not facts.inbox and not facts.pending and facts.behind is None:
            return Wait("nothing waits", quiet=True)
        if not facts.deployed:
            return Wait("nothing is deployed")
        if facts.paused:
            return Wait("it is paused")
        if facts.locked:
            return Wait("the model is locked")
        coming = [one for one in facts.runs if self._comes(one, facts.now)]
        if coming:
            return Wait("a run is on its way", untaken=self._untaken(coming, facts.now))
        overdue = self._is_overdue(facts)
        if not self._is_ripe(facts, overdue):
            return Wait("it is not time yet")
        if facts.now < (ready := self._ready_at(facts)):
            return Wait(f"it is tried again in {ready - facts.now:.0f} s")
        self._tries, self._tried = self._tries + 1, facts.now
        return Start(0 if overdue else facts.min_rows, self._key(facts), self._reason(facts))

    def _without_brought(self, facts: Facts) -> Facts:
        """Leave out what others have published, once a run that ended after that has learned it.

        It need not have been here: a run on another machine leaves this clone behind.
        """
        if facts.behind != self._behind[0]:
            self._behind = facts.behind, facts.latest
        if facts.behind is not None and facts.latest != self._behind[1] and facts.ended == "well":
            return replace(facts, behind=None)
        return facts

    def _remember(self, facts: Facts) -> None:
        state = json.dumps([sorted(facts.inbox.items()), sorted(facts.pending), facts.behind])
        if state != self._state:
            self._state, self._since, self._tries = state, facts.now, 0
        self._seen = {one: self._seen.get(one, facts.now) for one in facts.runs}

    def _comes(self, run: Run, now: float) -> bool:
        """Whether a run will hold the lock; one that was taken long ago, and does not, is dead."""
        return not run.taken or now - self._seen[run] < STARTING_S

    def _untaken(self, coming: Sequence[Run], now: float) -> str | None:
        """The run that has waited for too long, and no worker has taken."""
        late = (o.id for o in coming if not o.taken and now - self._seen[o] >= UNTAKEN_S)
        return next(late, None)

    def _is_overdue(self, facts: Facts) -> bool:
        waited = max(
            facts.now - facts.inbox_since if facts.inbox else 0.0,
            facts.pending_s if facts.pending else 0.0,
            facts.behind_s if facts.behind is not None else 0.0,
        )
        return waited >= facts.max_wait

    def _is_ripe(self, facts: Facts, overdue: bool) -> bool:
        """Whether it is time: files have rested; who ingests by hand may retrain by hand next."""
        if facts.inbox or overdue:
            return True
        rows = [one for one in facts.pending.values() if one is not None]
        unknown = len(rows) < len(facts.pending) or facts.behind is not None
        enough = unknown or sum(rows) >= facts.min_rows
        return enough and facts.now - self._since >= facts.debounce

    def _ready_at(self, facts: Facts) -> float:
        """When the next try may come."""
        if not self._tries:
            return self._since + TAKEN_PAUSE_S if facts.taken else facts.now
        first = TAKEN_PAUSE_S if facts.taken else FIRST_PAUSE_S
        pause = doubled(FIRST_PAUSE_S, self._tries - 1, _LONGEST[facts.ended])
        return self._tried + max(first, pause)

    def _key(self, facts: Facts) -> str:
        text = json.dumps([self._state, facts.latest, self._tries])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _reason(self, facts: Facts) -> str:
        parts = []
        if facts.inbox:
            parts.append(f"{len(facts.inbox)} in the inbox")
        if facts.pending:
            parts.append(f"{len(facts.pending)} pending")
        if facts.behind is not None:
            parts.append("others have published data")
        if self._tries > 1:
            parts.append(f"after {self._tries - 1} that changed nothing")
        return ", ".join(parts)
