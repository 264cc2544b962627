"""What follows where rows are forgotten: versions that learned from them take part no longer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from perdure.flows import tournament
from perdure.flows.decisions.parts import expected, let_go, new_key, utc_now, with_tournament
from perdure.records import Change, Event, Registered, Tournament, Version


def forgotten(
    now: Registered,
    champion: Version | None,
    challenger: Version | None,
    learned: Collection[int],
    renamed: Mapping[str, str],
    reason: str,
    by: str,
) -> Change:
    """Champion and challenger on versions that never saw the rows; holds under the new ids.

    All evidence ends where the champion moves. A version that learned from the rows takes part no
    longer, also where a person pinned it.

    Args:
        now: What stands.
        champion: Serves from now on; None: none that served before has not seen them.
        challenger: Training goes on from it; None: from a new learner.
        learned: The versions that learned from the rows.
        renamed: What each experience is called without them; an empty text: it is gone.
        reason: Goes into the history.
        by: Who acts.
    """
    at = utc_now()
    wanted = {"champion": champion, "challenger": challenger}
    aliases = {
        alias: version.version if version else None
        for alias, version in wanted.items()
        if now.aliases.get(alias) != (version.version if version else None)
    }
    gone = [e for e in now.tournament.entrants if e.version in learned]
    held = [now.held[id_] for id_ in renamed if id_ in now.held]
    kept = [replace(one, id=renamed[one.id]) for one in held if renamed[one.id]]
    replaced = now.champion.version if now.champion and "champion" in aliases else None
    change = Change(
        key=new_key("forgot"),
        expects=expected(now),
        aliases=aliases,
        hold=tuple(kept),
        release=tuple(one.id for one in held),
        events=(
            Event(
                at,
                "forgot",
                version=champion.version if champion and "champion" in aliases else None,
                replaced=replaced,
                reason=reason,
                by=by,
            ),
            *(
                let_go(e, "learned from rows that are forgotten", at, by)
                for e in gone
                if e.role == "contender"
            ),
        ),
    )
    return with_tournament(now, change, _after(now, champion, learned, "champion" in aliases))


def _after(
    now: Registered, champion: Version | None, learned: Collection[int], moved: bool
) -> Tournament:
    """The tournament without the versions that learned from the rows."""
    state = tournament.without(now.tournament, list(learned))
    if state.pinned in learned:
        state = replace(state, pinned=None)
    state = replace(state, latest=None)  # it names what is gone
    if not moved:
        return state
    if champion is None:
        return Tournament(measured=state.measured)
    return tournament.restarted(state, champion.version)
