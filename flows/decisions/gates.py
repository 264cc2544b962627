"""What the gates decide: the challenger moves, or the experience is held."""

from __future__ import annotations

from dataclasses import replace

from perdure.config import TournamentConfig
from perdure.flows import tournament
from perdure.flows.decisions.parts import (
    WAITS,
    contender_of,
    event_of,
    expected,
    let_go,
    new_key,
    utc_now,
    with_tournament,
)
from perdure.records import Change, Entrant, Event, Held, Registered, Verdict, Version


def compared_with(now: Registered) -> Version | None:
    """The version that the gates compare a candidate with: the champion.

    It is the challenger where nothing serves, and where it is a contender that was shown to be
    better and waits for approval: the gates had refused it beside the champion, and would refuse
    whatever goes on from it.
    """
    challenger = now.challenger
    if now.champion is None or (challenger is not None and challenger.verdict == "refused"):
        return challenger
    return now.champion


def passed(
    now: Registered,
    version: Version,
    verdict: Verdict,
    automatic: bool,
    by: str,
    settings: TournamentConfig,
) -> Change:
    """The challenger moves, and with automatic promotion the champion."""
    replaced = now.champion.version if now.champion else None
    how = "passed every gate" if verdict.answer == "passed" else "no gate showed harm"
    event = (
        event_of("promoted", version, by, replaced=replaced, reason=how)
        if automatic
        else event_of("moved", version, by, reason=f"{how}; {WAITS}")
    )
    change = Change(
        key=new_key("passed"),
        expects=expected(now),
        aliases={"challenger": version.version}
        | ({"champion": version.version} if automatic else {}),
        replaced={version.version: replaced} if automatic else {},
        verdicts={version.version: verdict},
        events=(event,),
    )
    if not automatic:
        return change
    return with_tournament(
        now, change, tournament.promoted(now.tournament, version.version, settings)
    )


def refused(now: Registered, version: Version, verdict: Verdict, by: str) -> Change:
    """Champion and challenger stay; the experience is held with the reasons.

    The version becomes a contender, unless it failed the sanity gate or waits for a person.
    """
    reason = "; ".join(verdict.refusals)
    at = utc_now()
    undecided = verdict.answer == "undecided"
    change = Change(
        key=new_key("refused"),
        expects=expected(now),
        verdicts={version.version: verdict},
        hold=(Held(version.experience, verdict.refusals, at, by),),
        events=(
            event_of("held" if undecided else "refused", version, by, reason=reason, at=at),
            *(
                ()
                if undecided
                else (
                    Event(
                        at, "held", experience=version.experience, reason="refused by a gate", by=by
                    ),
                )
            ),
        ),
    )
    if not verdict.contends or now.challenger is None:
        state = tournament.without(now.tournament, contender_of(now, version))
        return change if state == now.tournament else with_tournament(now, change, state)
    entrant = Entrant(version.version, "contender", experience=version.experience, waits=undecided)
    state, least = tournament.enter(now.tournament, entrant)
    gone = () if least is None else (let_go(least, "another contender took its place", at, by),)
    return with_tournament(now, replace(change, events=(*change.events, *gone)), state)


def tried(change: Change, version: Version) -> bool:
    """Whether a version is a contender after a change: measured on what arrives next."""
    state = change.tournament
    return state is not None and version.version in {e.version for e in state.of("contender")}


def unlearnable(experience: str, reason: str, by: str) -> Change:
    """An experience that cannot be learned at all is held; nothing else changes."""
    at = utc_now()
    return Change(
        key=new_key("held"),
        hold=(Held(experience, (reason,), at, by),),
        events=(Event(at, "held", experience=experience, reason=reason, by=by),),
    )
