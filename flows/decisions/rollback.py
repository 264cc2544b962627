"""What a rollback decides: both aliases, what is held, and who is still on trial."""

from __future__ import annotations

from dataclasses import replace

from perdure.flows import tournament
from perdure.flows.decisions.parts import (
    event_of,
    expected,
    let_go,
    new_key,
    utc_now,
    with_tournament,
)
from perdure.records import Change, Entrant, Event, Held, Registered, Tournament, Version


def rolled_back(
    now: Registered, target: Version, reason: str | None, keep_data: bool, by: str
) -> Change:
    """Both aliases move; what only the abandoned versions had learned is held, or left pending.

    All evidence ends. A contender that has learned from what the target has not is let go, but for
    the experience that it was refused for; an anchor that has, unless a person pinned it.
    """
    at = utc_now()
    change = going_back(now, target, reason, keep_data, by, at)
    state, gone = after_rollback(now, target, at, by)
    return with_tournament(now, replace(change, events=(*change.events, *gone)), state)


def going_back(
    now: Registered, target: Version, reason: str | None, keep_data: bool, by: str, at: str
) -> Change:
    """Both aliases on an older version, and what only the abandoned ones had learned held."""
    replaced = now.champion.version if now.champion else None
    abandoned = [v for v in (now.champion, now.challenger) if v is not None]
    only_there = dict.fromkeys(
        id_ for v in abandoned for id_ in v.cursor if id_ not in target.cursor
    )
    newest = max((v.version for v in abandoned), default=replaced)
    why = f"learned only by versions after {target.version}, rolled back from {newest}"
    why += f": {reason}" if reason else ""
    held = () if keep_data else tuple(id_ for id_ in only_there if id_ not in now.held)
    return Change(
        key=new_key("rolled-back"),
        expects=expected(now),
        aliases={"champion": target.version, "challenger": target.version},
        hold=tuple(Held(id_, (why,), at, by) for id_ in held),
        release=tuple(id_ for id_ in target.cursor if id_ in now.held),
        events=(
            event_of("rolled back", target, by, replaced=replaced, reason=reason, at=at),
            *(Event(at, "held", experience=id_, reason=why, by=by) for id_ in held),
        ),
    )


def after_rollback(
    now: Registered, target: Version, at: str, by: str
) -> tuple[Tournament, tuple[Event, ...]]:
    """The tournament after a rollback, and the events of the contenders that are let go."""
    known = set(target.cursor)
    gone = strangers(now, target)
    # Or else an anchor that is one of the abandoned versions might undo what a person decided.
    anchors = [
        entrant.version
        for entrant in now.tournament.of("anchor")
        if (version := now.entrants.get(entrant.version)) is None or not set(version.cursor) < known
    ]
    away = [e.version for e in gone] + [target.version] + anchors
    state = tournament.without(now.tournament, [n for n in away if n != now.tournament.pinned])
    events = tuple(let_go(e, f"goes on from a version after {target.version}", at, by)
                   for e in gone)  # fmt: skip
    return tournament.restarted(state, target.version), events


def strangers(now: Registered, target: Version) -> list[Entrant]:
    """Contenders that learned what `target` has not, apart from what they were refused for."""
    known, found = set(target.cursor), []
    for entrant in now.tournament.of("contender"):
        version = now.entrants.get(entrant.version)
        if version is None or not set(version.cursor) - {version.experience} <= known:
            found.append(entrant)
    return found
