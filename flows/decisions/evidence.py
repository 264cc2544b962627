"""What an arriving experience decides: who is shown to be better serves from now on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from perdure.flows import tournament
from perdure.flows.decisions.parts import (
    WAITS,
    event_of,
    expected,
    let_go,
    new_key,
    utc_now,
    with_tournament,
)
from perdure.flows.decisions.rollback import going_back
from perdure.records import Arrival, Change, Entrant, Event, Held, Registered, Version


def arrived(
    now: Registered,
    arrival: Arrival,
    outcome: tournament.Outcome,
    winner: Version | None,
    by: str,
    *,
    automatic: bool,
    notices: Sequence[Event] = (),
    held: Held | None = None,
) -> Change:
    """What an arriving experience showed: the evidence, and what follows from it.

    Args:
        now: What stands.
        arrival: What was measured; kept in the registry.
        outcome: What the evidence decides.
        winner: The version of `outcome.winner`; None: nothing is moved.
        by: Who acts.
        automatic: Whether the champion moves with the challenger.
        notices: Events about drift, or a fallen metric.
        held: The experience is broken, and is not learned.
    """
    at = utc_now()
    gone = tuple(let_go(entrant, why, at, by) for entrant, why in outcome.let_go)
    state = tournament.without(outcome.state, [entrant.version for entrant, _ in outcome.let_go])
    state = replace(state, latest=arrival)
    holding = () if held is None else (held,)
    telling = tuple(Event(at, "held", experience=h.id, reason="; ".join(h.reasons), by=by)
                    for h in holding)  # fmt: skip
    if outcome.winner is None or winner is None:
        change = Change(
            key=new_key("arrived"),
            expects=expected(now),
            hold=holding,
            events=(*notices, *telling, *gone),
        )
        return with_tournament(now, change, state)
    proof = tournament.words(outcome.winner.better)
    if outcome.winner.role == "contender":
        change = _taking(now, winner, f"shown to be better on {proof}", by, at, automatic=automatic)
        moved = tournament.restarted(
            tournament.without(state, [winner.version]), _serving(now, change)
        )
    else:
        role = outcome.winner.role
        change = going_back(now, winner, f"the {role} is better on {proof}", False, by, at)
        moved = tournament.restarted(state, winner.version)
        if now.champion is not None:
            abandoned = Entrant(now.champion.version, "contender")
            moved, least = tournament.enter(moved, abandoned)
            if least is not None:
                gone = (*gone, let_go(least, "another contender took its place", at, by))
    change = replace(
        change,
        hold=(*change.hold, *holding),
        events=(*notices, *change.events, *telling, *gone),
    )
    return with_tournament(now, change, moved)


def _taking(
    now: Registered, winner: Version, reason: str, by: str, at: str, *, automatic: bool
) -> Change:
    """A contender takes the challenger's place, and with automatic promotion the champion's.

    What it has learned is released; what only the other line has learned is pending by itself.
    """
    replaced = now.champion.version if now.champion else None
    return Change(
        key=new_key("contender"),
        expects=expected(now),
        aliases={"challenger": winner.version}
        | ({"champion": winner.version} if automatic else {}),
        replaced={winner.version: replaced} if automatic else {},
        release=tuple(id_ for id_ in winner.cursor if id_ in now.held),
        events=(
            event_of(
                "promoted" if automatic else "moved",
                winner,
                by,
                replaced=replaced if automatic else None,
                reason=f"contender {reason}" + ("" if automatic else f"; {WAITS}"),
                at=at,
            ),
        ),
    )


def _serving(now: Registered, change: Change) -> int:
    """The champion after a change."""
    number = change.aliases.get("champion")
    if number is None:
        number = now.champion.version if now.champion else 0
    return number
