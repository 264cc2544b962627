"""What a person decides: promoting, refusing, pinning, holding and releasing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from perdure.flows import tournament
from perdure.flows.decisions.parts import (
    contender_of,
    event_of,
    expected,
    let_go,
    new_key,
    utc_now,
    with_tournament,
)
from perdure.flows.decisions.rollback import rolled_back
from perdure.records import Action, Change, Entrant, Event, Held, Registered, Version


def promoted_by_hand(
    now: Registered,
    version: Version,
    forced: bool,
    reason: str | None,
    by: str,
    line: Collection[int],
) -> Change:
    """The champion moves; the challenger too, unless it already goes on from this version.

    What the version has learned is no longer held.

    Args:
        now: What stands.
        version: The champion to be.
        forced: Although a gate refused it.
        reason: Goes into the history.
        by: Who acts.
        line: The challenger and its ancestors, by `parent`.
    """
    replaced = now.champion.version if now.champion else None
    goes_on = version.version in line
    aliases = {"champion": version.version} | ({} if goes_on else {"challenger": version.version})
    action: Action = "forced" if forced else "promoted"
    change = Change(
        key=new_key(action),
        expects=expected(now),
        aliases=aliases,
        replaced={version.version: replaced},
        release=tuple(id_ for id_ in version.cursor if id_ in now.held),
        events=(event_of(action, version, by, replaced=replaced, reason=reason),),
    )
    state = tournament.without(now.tournament, contender_of(now, version))
    return with_tournament(now, change, tournament.restarted(state, version.version))


def not_approved(now: Registered, version: Version, reason: str | None, by: str) -> Change:
    """A person refuses the challenger: training goes on from the champion.

    What only the challenger had learned is held. Where there is no champion, training starts
    over, and no contender is left to compare with.
    """
    why = f"version {version.version} was not approved" + (f": {reason}" if reason else "")
    if now.champion is not None:
        return rolled_back(now, now.champion, why, False, by)
    at = utc_now()
    held = tuple(id_ for id_ in version.cursor if id_ not in now.held)
    contenders = now.tournament.of("contender")
    gone = tuple(let_go(e, f"goes on from version {version.version}", at, by) for e in contenders)
    change = Change(
        key=new_key("not-approved"),
        expects=expected(now),
        aliases={"challenger": None},
        hold=tuple(Held(id_, (why,), at, by) for id_ in held),
        events=(
            event_of("refused", version, by, reason=why, at=at),
            *(Event(at, "held", experience=id_, reason=why, by=by) for id_ in held),
            *gone,
        ),
    )
    return with_tournament(
        now, change, tournament.without(now.tournament, [e.version for e in contenders])
    )


def pinned(now: Registered, version: Version, reason: str | None, by: str) -> Change:
    """A version becomes the anchor, and stays it."""
    others = tuple(
        e for e in now.tournament.entrants if e.role != "anchor" and e.version != version.version
    )
    state = replace(
        now.tournament,
        entrants=(*others, Entrant(version.version, "anchor")),
        pinned=version.version,
        promotions=0,
    )
    change = Change(
        key=new_key("pinned"),
        expects=expected(now),
        events=(event_of("pinned", version, by, reason=reason),),
    )
    return with_tournament(now, change, state)


def unpinned(now: Registered, version: Version, by: str) -> Change:
    """The anchor moves by itself again; the next promotion sets it."""
    others = tuple(e for e in now.tournament.entrants if e.role != "anchor")
    state = replace(now.tournament, entrants=others, pinned=None, promotions=0)
    change = Change(
        key=new_key("unpinned"), expects=expected(now), events=(event_of("unpinned", version, by),)
    )
    return with_tournament(now, change, state)


def released(experiences: Sequence[str], reason: str | None, by: str) -> Change:
    """Held experiences are pending again."""
    at = utc_now()
    return Change(
        key=new_key("released"),
        release=tuple(experiences),
        events=tuple(
            Event(at, "released", experience=i, reason=reason, by=by) for i in experiences
        ),
    )


def quarantined(experiences: Sequence[str], reason: str, by: str) -> Change:
    """Experiences are set aside by hand."""
    at = utc_now()
    return Change(
        key=new_key("quarantined"),
        hold=tuple(Held(i, (reason,), at, by, quarantined=True) for i in experiences),
        events=tuple(
            Event(at, "quarantined", experience=i, reason=reason, by=by) for i in experiences
        ),
    )
