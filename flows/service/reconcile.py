"""What is to be started, decided from plain facts: the safety net below events and schedules.

An event may be lost, its automation may be late, a run may crash. So somebody looks now and then
at what waits and at what runs, and starts a retraining where none is coming. That it looks too
early or twice does no harm: a retraining learns what is pending, and nothing where nothing is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

GRACE_S = 5.0
"""After an event its automation has so long to start a run."""
FIRST_PAUSE_S = 15.0
"""After a failure; it doubles with each that follows."""
LONGEST_PAUSE_S = 600.0
LONGEST_AFTER_CRASH_S = 60.0
"""A run that was killed says nothing about the next one."""
LONGEST_WHILE_AWAY_S = 90.0
"""What was away is back at any time, and then it goes on within two minutes."""
UNTAKEN_S = 300.0
"""A run that has waited so long is one that no worker takes."""
LONGEST_IN_VAIN_S = 3600.0
"""Runs that end well and leave what waits: a file that may not be removed needs somebody's hand."""

How = Literal["active", "completed", "failed", "hindered", "crashed", "cancelled"]


@dataclass(frozen=True)
class Run:
    """A flow run of the deployment `retrain`."""

    id: str
    how: How
    """`active`: scheduled for now, pending, or running. `hindered`: it failed, as an outside system
    was away or the disk was full."""
    begun: bool = True
    """Of one that is active: whether it runs."""


@dataclass(frozen=True)
class Facts:
    """What is so at one moment. Moments are seconds of a clock that is never set back."""

    now: float
    inbox: Mapping[str, str] = field(default_factory=dict)
    """Files that wait and are whole: what tells two states apart, by name."""
    inbox_since: float = 0.0
    inbox_told: float | None = None
    """When an event told of them; None: their debounce still runs."""
    pending: Mapping[str, int | None] = field(default_factory=dict)
    """Rows of each experience that waits to be learned; None: not known."""
    pending_s: float = 0.0
    """How long the oldest of them has been there."""
    behind: str | None = None
    """What the git remote has, where that is not here; runs bring it."""
    behind_s: float = 0.0
    """For how long it has been so."""
    runs: Sequence[Run] = ()
    """Of the deployment, newest first."""
    deployed: bool = True
    paused: bool = False
    """By a person: the deployment, or what starts it on new data."""
    busy: bool = False
    """Somebody works on the model outside of the deployment."""
    debounce: float = 10.0
    max_wait: float = 600.0
    min_rows: int = 0


@dataclass(frozen=True)
class Start:
    """Start the deployment `retrain`."""

    min_rows: int
    key: str
    """The same for two that see the same; another one after each run."""
    why: str


@dataclass(frozen=True)
class IngestHere:
    """Ingest in this workspace: the runs so far did so in another machine's."""

    why: str


@dataclass(frozen=True)
class Wait:
    """Start nothing."""

    why: str
    quiet: bool = False
    """Nothing waits at all."""
    untaken: str | None = None
    """The id of a run that no worker takes."""


Decision = Start | IngestHere | Wait


@dataclass
class Reconciler:
    """Decides from facts, and remembers which runs did not change them."""

    _state: str = ""
    _since: float = 0.0
    _before: frozenset[str] = frozenset()
    """Runs that there were when the facts became as they are: they may have looked before."""
    _ended: dict[str, tuple[How, float]] = field(default_factory=dict)
    """Runs that ended since, and when that was first seen."""
    _here: list[float] = field(default_factory=list)
    """When it was decided to ingest here, since the facts are as they are."""
    _behind: str | None = None
    """What the remote had that was not here, last time."""
    _before_it: frozenset[str] | None = None
    """Runs that there were by then; None: one that began after that has brought it."""
    _waiting: dict[str, float] = field(default_factory=dict)
    """Active runs that have not begun, and since when."""

    def decide(self, facts: Facts) -> Decision:
        """What to do now."""
        facts = self._with_remote(facts)
        self._remember(facts)
        if not facts.inbox and not facts.pending:
            return Wait("nothing waits", quiet=True)
        if not facts.deployed:
            return Wait("nothing is deployed")
        if facts.paused:
            return Wait("it is paused")
        if any(run.how == "active" for run in facts.runs):
            return Wait("a run is on its way", untaken=self._untaken(facts))
        if facts.busy:
            return Wait("somebody works on the model")
        overdue = self._is_overdue(facts)
        if not self._is_ripe(facts, overdue):
            return Wait("it is not time yet")
        pause, ended = self._pause()
        if facts.now < ended + pause:
            return Wait(f"the last run changed nothing; pausing for {pause:g} s")
        in_vain = [one for one in self._ended.values() if one[0] == "completed"]
        if facts.inbox and len(in_vain) > len(self._here):
            self._here.append(facts.now)
            return IngestHere("a run ended well, and the files are still here")
        least = 0 if overdue else facts.min_rows
        return Start(least, self._key(facts), self._why(facts, overdue))

    def _with_remote(self, facts: Facts) -> Facts:
        """What others have published is pending until a run that began after it has ended well.

        It need not have been here: a run on another machine leaves this clone behind.
        """
        if facts.behind != self._behind:
            self._behind, self._before_it = facts.behind, frozenset(r.id for r in facts.runs)
        if facts.behind is None or self._before_it is None:
            return facts
        if any(one.how == "completed" and one.id not in self._before_it for one in facts.runs):
            self._before_it = None
            return facts
        pending, waited = {**facts.pending, facts.behind: None}, facts.behind_s
        if facts.pending:
            waited = max(waited, facts.pending_s)
        return replace(facts, pending=pending, pending_s=waited)

    def _untaken(self, facts: Facts) -> str | None:
        """The run that has waited for too long without having begun."""
        waiting = [one.id for one in facts.runs if one.how == "active" and not one.begun]
        self._waiting = {id_: self._waiting.get(id_, facts.now) for id_ in waiting}
        late = [id_ for id_, since in self._waiting.items() if facts.now - since >= UNTAKEN_S]
        return late[0] if late else None

    def _remember(self, facts: Facts) -> None:
        state = json.dumps([sorted(facts.inbox.items()), sorted(facts.pending)])
        if state != self._state:
            self._state, self._since = state, facts.now
            self._before, self._ended, self._here = frozenset(r.id for r in facts.runs), {}, []
        for run in facts.runs:
            if run.how != "active" and run.id not in self._before:
                self._ended.setdefault(run.id, (run.how, facts.now))

    def _is_overdue(self, facts: Facts) -> bool:
        waited = facts.now - facts.inbox_since if facts.inbox else 0.0
        if facts.pending:
            waited = max(waited, facts.pending_s)
        return waited >= facts.max_wait

    def _is_ripe(self, facts: Facts, overdue: bool) -> bool:
        """Whether an event has had its chance, or there was none."""
        if facts.inbox and facts.inbox_told is not None:
            if facts.now - facts.inbox_told >= GRACE_S:
                return True
        elif facts.inbox and overdue and facts.now - self._since >= GRACE_S:
            return True
        if not facts.pending:
            return False
        rows = [one for one in facts.pending.values() if one is not None]
        enough = len(rows) < len(facts.pending) or sum(rows) >= facts.min_rows
        # Whoever ingests by hand may retrain by hand next.
        return (enough or overdue) and facts.now - self._since >= max(facts.debounce, GRACE_S)

    def _pause(self) -> tuple[float, float]:
        """How long to wait since the last run that changed nothing, and when that ended."""
        tries = list(self._ended.values())
        if not tries:
            return 0.0, 0.0
        hows = [how for how, _ in tries]
        first = GRACE_S if set(hows) == {"cancelled"} else FIRST_PAUSE_S  # there was no room for it
        in_vain = sum(how in ("failed", "completed") for how in hows)
        longest = LONGEST_WHILE_AWAY_S if "hindered" in hows else LONGEST_AFTER_CRASH_S
        pause = min(first * 2.0 ** min(len(tries) - 1, 20), longest)
        if in_vain:
            again = FIRST_PAUSE_S * 2.0 ** min(in_vain - 1, 20)
            only = set(hows) - {"cancelled"} == {"completed"}
            pause = max(pause, min(again, LONGEST_IN_VAIN_S if only else LONGEST_PAUSE_S))
        return pause, max([ended for _, ended in tries] + self._here)

    def _key(self, facts: Facts) -> str:
        newest = facts.runs[0].id if facts.runs else ""
        text = json.dumps([self._state, newest])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _why(self, facts: Facts, overdue: bool) -> str:
        parts = []
        if facts.inbox:
            parts.append(f"{len(facts.inbox)} in the inbox")
        if facts.pending:
            parts.append(f"{len(facts.pending)} pending")
        if self._ended:
            parts.append(f"after {len(self._ended)} that changed nothing")
        elif overdue:
            parts.append("for too long")
        return ", ".join(parts)
