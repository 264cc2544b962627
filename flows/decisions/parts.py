"""What every decision is made of: its key, its events, the aliases that it was made on."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime

from perdure.flows import tournament
from perdure.records import Action, Change, Entrant, Event, Registered, Tournament, Version

WAITS = "waits for approval"
"""What the history says of a challenger that a person is to approve."""


def utc_now() -> str:
    """The time, UTC, ISO 8601; as fine as the quarantine's, for the history merges the two."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def expected(now: Registered) -> dict[str, int | None]:
    """The aliases that a decision was made on."""
    return {
        "champion": now.champion.version if now.champion else None,
        "challenger": now.challenger.version if now.challenger else None,
    }


def contender_of(now: Registered, version: Version) -> list[int]:
    """The version's number, if it is a contender; otherwise nothing."""
    return [e.version for e in now.tournament.of("contender") if e.version == version.version]


def with_tournament(now: Registered, change: Change, state: Tournament) -> Change:
    """The change with the tournament after it, and the aliases that show it in MLflow."""
    moved = {
        alias: number
        for alias, number in tournament.aliases(state).items()
        if now.aliases.get(alias) != number
    }
    return replace(
        change,
        tournament=state,
        expects_tournament=now.tournament.digest(),
        aliases={**change.aliases, **moved},
    )


def let_go(entrant: Entrant, why: str, at: str, by: str) -> Event:
    """The event that a contender takes part no longer."""
    return Event(
        at, "let go", version=entrant.version, experience=entrant.experience, reason=why, by=by
    )


def event_of(
    action: Action,
    version: Version,
    by: str,
    *,
    replaced: int | None = None,
    reason: str | None = None,
    at: str | None = None,
) -> Event:
    """The event of an action on a version; now, unless `at` is given."""
    return Event(at or utc_now(), action, version.version, replaced, version.experience, reason, by)


def new_key(action: str) -> str:
    """A key that no other change has."""
    return f"{action}-{uuid.uuid4().hex}"
