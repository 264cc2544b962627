"""From a verdict or a wish to the change of the registry that it asks for. No outside system."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from perdure.config import TournamentConfig
from perdure.flows import tournament
from perdure.records import (
    IN_MLFLOW,
    Action,
    Arrival,
    Change,
    Entrant,
    Event,
    Held,
    Registered,
    Tournament,
    Verdict,
    Version,
)

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
        _event("promoted", version, by, replaced=replaced, reason=how)
        if automatic
        else _event("moved", version, by, reason=f"{how}; {WAITS}")
    )
    change = Change(
        key=_key("passed"),
        expects=expected(now),
        aliases={"challenger": version.version}
        | ({"champion": version.version} if automatic else {}),
        replaced={version.version: replaced} if automatic else {},
        verdicts={version.version: verdict},
        events=(event,),
    )
    if not automatic:
        return change
    return _with(now, change, tournament.promoted(now.tournament, version.version, settings))


def refused(now: Registered, version: Version, verdict: Verdict, by: str) -> Change:
    """Champion and challenger stay; the experience is held with the reasons.

    The version becomes a contender, unless it failed the sanity gate or waits for a person.
    """
    reason = "; ".join(verdict.refusals)
    at = utc_now()
    undecided = verdict.answer == "undecided"
    change = Change(
        key=_key("refused"),
        expects=expected(now),
        verdicts={version.version: verdict},
        hold=(Held(version.experience, verdict.refusals, at, by),),
        events=(
            _event("held" if undecided else "refused", version, by, reason=reason, at=at),
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
        state = tournament.without(now.tournament, _contender_of(now, version))
        return change if state == now.tournament else _with(now, change, state)
    entrant = Entrant(version.version, "contender", experience=version.experience, waits=undecided)
    state, least = tournament.enter(now.tournament, entrant)
    gone = () if least is None else (_let_go(least, "another contender took its place", at, by),)
    return _with(now, replace(change, events=(*change.events, *gone)), state)


def unlearnable(experience: str, reason: str, by: str) -> Change:
    """An experience that cannot be learned at all is held; nothing else changes."""
    at = utc_now()
    return Change(
        key=_key("held"),
        hold=(Held(experience, (reason,), at, by),),
        events=(Event(at, "held", experience=experience, reason=reason, by=by),),
    )


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
    gone = tuple(_let_go(entrant, why, at, by) for entrant, why in outcome.let_go)
    state = tournament.without(outcome.state, [entrant.version for entrant, _ in outcome.let_go])
    state = replace(state, latest=arrival)
    holding = () if held is None else (held,)
    telling = tuple(Event(at, "held", experience=h.id, reason="; ".join(h.reasons), by=by)
                    for h in holding)  # fmt: skip
    if outcome.winner is None or winner is None:
        change = Change(
            key=_key("arrived"),
            expects=expected(now),
            hold=holding,
            events=(*notices, *telling, *gone),
        )
        return _with(now, change, state)
    proof = tournament.words(outcome.winner.better)
    if outcome.winner.role == "contender":
        change = _taking(now, winner, f"shown to be better on {proof}", by, at, automatic=automatic)
        moved = tournament.restarted(
            tournament.without(state, [winner.version]), _serving(now, change)
        )
    else:
        role = outcome.winner.role
        change = _going_back(now, winner, f"the {role} is better on {proof}", False, by, at)
        moved = tournament.restarted(state, winner.version)
        if now.champion is not None:
            abandoned = Entrant(now.champion.version, "contender")
            moved, least = tournament.enter(moved, abandoned)
            if least is not None:
                gone = (*gone, _let_go(least, "another contender took its place", at, by))
    change = replace(
        change,
        hold=(*change.hold, *holding),
        events=(*notices, *change.events, *telling, *gone),
    )
    return _with(now, change, moved)


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
        key=_key(action),
        expects=expected(now),
        aliases=aliases,
        replaced={version.version: replaced},
        release=tuple(id_ for id_ in version.cursor if id_ in now.held),
        events=(_event(action, version, by, replaced=replaced, reason=reason),),
    )
    state = tournament.without(now.tournament, _contender_of(now, version))
    return _with(now, change, tournament.restarted(state, version.version))


def rolled_back(
    now: Registered, target: Version, reason: str | None, keep_data: bool, by: str
) -> Change:
    """Both aliases move; what only the abandoned versions had learned is held, or left pending.

    All evidence ends. A contender that has learned from what the target has not is let go, but for
    the experience that it was refused for; an anchor that has, unless a person pinned it.
    """
    at = utc_now()
    change = _going_back(now, target, reason, keep_data, by, at)
    state, gone = _after_rollback(now, target, at, by)
    return _with(now, replace(change, events=(*change.events, *gone)), state)


def not_approved(now: Registered, version: Version, reason: str | None, by: str) -> Change:
    """A person refuses the challenger: training goes on from the champion.

    What only the challenger had learned is held. Where there is no champion, training begins anew,
    and no contender is left to compare with.
    """
    why = f"version {version.version} was not approved" + (f": {reason}" if reason else "")
    if now.champion is not None:
        return rolled_back(now, now.champion, why, False, by)
    at = utc_now()
    held = tuple(id_ for id_ in version.cursor if id_ not in now.held)
    contenders = now.tournament.of("contender")
    gone = tuple(_let_go(e, f"goes on from version {version.version}", at, by) for e in contenders)
    change = Change(
        key=_key("not-approved"),
        expects=expected(now),
        aliases={"challenger": None},
        hold=tuple(Held(id_, (why,), at, by) for id_ in held),
        events=(
            _event("refused", version, by, reason=why, at=at),
            *(Event(at, "held", experience=id_, reason=why, by=by) for id_ in held),
            *gone,
        ),
    )
    return _with(now, change, tournament.without(now.tournament, [e.version for e in contenders]))


def moved_in_mlflow(
    now: Registered, before: Mapping[str, Version | None], lines: Mapping[str, Collection[int]]
) -> Change:
    """A person moved champion or challenger in MLflow: recorded as the decision that it is.

    The champion on an ancestor of the one before is a rollback, on any other version a promotion.
    Where the challenger was moved as well, it stays there: what it has learned is not held.

    Args:
        now: What stands, moved.
        before: Champion and challenger as the last change had left them.
        lines: Their ancestors, themselves included, by `parent`.
    """
    at, why = utc_now(), "moved in MLflow"
    was, is_ = before["champion"], now.champion
    if "champion" not in now.moved or is_ is None:
        return _other_move(now, before, lines, at, why)
    # Decided as if the aliases stood where they were; the champion stands where it is to be.
    then = replace(now, champion=was, challenger=before["challenger"])
    if is_.version in lines["champion"]:
        change = _going_back(then, is_, why, False, IN_MLFLOW, at)
        state, gone = _after_rollback(then, is_, at, IN_MLFLOW)
        change = replace(change, events=(*change.events, *gone))
    else:
        change = promoted_by_hand(then, is_, False, why, IN_MLFLOW, lines["challenger"])
        assert change.tournament is not None
        state = change.tournament
    if "challenger" in now.moved:  # that is a decision, too
        change = _keeping(now, change)
    change = replace(change, key=_key("moved"), expects=expected(now))
    return _with(now, change, state)


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
        key=_key("pinned"),
        expects=expected(now),
        events=(_event("pinned", version, by, reason=reason),),
    )
    return _with(now, change, state)


def unpinned(now: Registered, version: Version, by: str) -> Change:
    """The anchor moves by itself again; the next promotion sets it."""
    others = tuple(e for e in now.tournament.entrants if e.role != "anchor")
    state = replace(now.tournament, entrants=others, pinned=None, promotions=0)
    change = Change(
        key=_key("unpinned"), expects=expected(now), events=(_event("unpinned", version, by),)
    )
    return _with(now, change, state)


def entrants_moved_in_mlflow(
    now: Registered, entrants: Sequence[Entrant], contenders: Sequence[Version]
) -> Change:
    """A person moved or removed the aliases of entrants in MLflow, or deleted the versions.

    Args:
        now: What stands, moved.
        entrants: Contenders and an anchor that have no alias any more: they take part no longer.
        contenders: Versions that have the alias of a contender, and are none yet.
    """
    at, why = utc_now(), "its alias was removed in MLflow"
    numbers = [entrant.version for entrant in entrants]
    state = tournament.without(now.tournament, numbers)
    unpinned = state.pinned in numbers
    events = tuple(
        _let_go(entrant, why, at, IN_MLFLOW) for entrant in entrants if entrant.role == "contender"
    )
    if unpinned:
        gone = Event(at, "unpinned", version=state.pinned, reason=why, by=IN_MLFLOW)
        state, events = replace(state, pinned=None, promotions=0), (*events, gone)
    serving = {one.version for one in (now.champion, now.challenger) if one is not None}
    for version in contenders:
        if version.version in serving:
            continue  # its alias is removed
        held = version.experience if version.experience in now.held else None
        entered = Entrant(version.version, "contender", experience=held)
        state, least = tournament.enter(state, entered)
        reason = "the alias contender was set in MLflow"
        events = (*events, _event("moved", version, IN_MLFLOW, reason=reason, at=at))
        if least is not None:
            other = "another contender took its place"
            events = (*events, _let_go(least, other, at, IN_MLFLOW))
    change = Change(key=_key("entrants"), expects=expected(now), events=events)
    return _with(now, change, state)


def released(experiences: Sequence[str], reason: str | None, by: str) -> Change:
    """Held experiences are pending again."""
    at = utc_now()
    return Change(
        key=_key("released"),
        release=tuple(experiences),
        events=tuple(
            Event(at, "released", experience=i, reason=reason, by=by) for i in experiences
        ),
    )


def quarantined(experiences: Sequence[str], reason: str, by: str) -> Change:
    """Experiences are set aside by hand."""
    at = utc_now()
    return Change(
        key=_key("quarantined"),
        hold=tuple(Held(i, (reason,), at, by, quarantined=True) for i in experiences),
        events=tuple(
            Event(at, "quarantined", experience=i, reason=reason, by=by) for i in experiences
        ),
    )


def _taking(
    now: Registered, winner: Version, reason: str, by: str, at: str, *, automatic: bool
) -> Change:
    """A contender takes the challenger's place, and with automatic promotion the champion's.

    What it has learned is released; what only the other line has learned is pending by itself.
    """
    replaced = now.champion.version if now.champion else None
    return Change(
        key=_key("contender"),
        expects=expected(now),
        aliases={"challenger": winner.version}
        | ({"champion": winner.version} if automatic else {}),
        replaced={winner.version: replaced} if automatic else {},
        release=tuple(id_ for id_ in winner.cursor if id_ in now.held),
        events=(
            _event(
                "promoted" if automatic else "moved",
                winner,
                by,
                replaced=replaced if automatic else None,
                reason=f"contender {reason}" + ("" if automatic else f"; {WAITS}"),
                at=at,
            ),
        ),
    )


def _going_back(
    now: Registered, target: Version, reason: str | None, keep_data: bool, by: str, at: str
) -> Change:
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
        key=_key("rolled-back"),
        expects=expected(now),
        aliases={"champion": target.version, "challenger": target.version},
        hold=tuple(Held(id_, (why,), at, by) for id_ in held),
        release=tuple(id_ for id_ in target.cursor if id_ in now.held),
        events=(
            _event("rolled back", target, by, replaced=replaced, reason=reason, at=at),
            *(Event(at, "held", experience=id_, reason=why, by=by) for id_ in held),
        ),
    )


def _after_rollback(
    now: Registered, target: Version, at: str, by: str
) -> tuple[Tournament, tuple[Event, ...]]:
    known = set(target.cursor)
    gone = []
    for entrant in now.tournament.of("contender"):
        version = now.entrants.get(entrant.version)
        if version is None or not set(version.cursor) - {version.experience} <= known:
            gone.append(entrant)
    # Or else an anchor that is one of the abandoned versions might undo what a person decided.
    anchors = [
        entrant.version
        for entrant in now.tournament.of("anchor")
        if (version := now.entrants.get(entrant.version)) is None or not set(version.cursor) < known
    ]
    away = [e.version for e in gone] + [target.version] + anchors
    state = tournament.without(now.tournament, [n for n in away if n != now.tournament.pinned])
    events = tuple(_let_go(e, f"goes on from a version after {target.version}", at, by)
                   for e in gone)  # fmt: skip
    return tournament.restarted(state, target.version), events


def _keeping(now: Registered, change: Change) -> Change:
    """The change with the challenger where it stands, and nothing held that it has learned."""
    learned = set(now.challenger.cursor) if now.challenger else set()
    return replace(
        change,
        aliases={**change.aliases, "challenger": expected(now)["challenger"]},
        hold=tuple(one for one in change.hold if one.id not in learned),
        release=tuple(id_ for id_ in now.held if id_ in {*change.release, *learned}),
        events=tuple(
            one for one in change.events if one.action != "held" or one.experience not in learned
        ),
    )


def _other_move(
    now: Registered,
    before: Mapping[str, Version | None],
    lines: Mapping[str, Collection[int]],
    at: str,
    why: str,
) -> Change:
    """The champion was taken away, or the challenger alone was moved."""
    was, is_ = before["challenger"], now.challenger
    held: list[str] = []
    if was is not None and is_ is not None and is_.version in lines["challenger"]:
        serving = set(now.champion.cursor) if now.champion else set()
        held = [i for i in was.cursor if i not in {*is_.cursor, *serving, *now.held}]
    reasons = f"learned only by versions after {is_.version if is_ else None}: {why}"
    events = [
        Event(
            at,
            "moved",
            version=now.aliases.get(alias),
            replaced=one.version if (one := before[alias]) else None,
            reason=f"the alias {alias} was {why}"
            if alias in now.aliases
            else f"the alias {alias} was removed in MLflow",
            by=IN_MLFLOW,
        )
        for alias in now.moved
    ]
    release = tuple(i for i in (is_.cursor if is_ else ()) if i in now.held)
    return Change(
        key=_key("moved"),
        expects=expected(now),
        aliases={alias: now.aliases.get(alias) for alias in now.moved if alias in now.aliases},
        hold=tuple(Held(i, (reasons,), at, IN_MLFLOW) for i in held),
        release=release,
        events=(
            *events,
            *(Event(at, "held", experience=i, reason=reasons, by=IN_MLFLOW) for i in held),
        ),
        recorded={alias: now.aliases.get(alias) for alias in now.moved},
    )


def _serving(now: Registered, change: Change) -> int:
    """The champion after a change."""
    number = change.aliases.get("champion")
    if number is None:
        number = now.champion.version if now.champion else 0
    return number


def _contender_of(now: Registered, version: Version) -> list[int]:
    return [e.version for e in now.tournament.of("contender") if e.version == version.version]


def _with(now: Registered, change: Change, state: Tournament) -> Change:
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


def _let_go(entrant: Entrant, why: str, at: str, by: str) -> Event:
    return Event(
        at, "let go", version=entrant.version, experience=entrant.experience, reason=why, by=by
    )


def _event(
    action: Action,
    version: Version,
    by: str,
    *,
    replaced: int | None = None,
    reason: str | None = None,
    at: str | None = None,
) -> Event:
    return Event(at or utc_now(), action, version.version, replaced, version.experience, reason, by)


def _key(action: str) -> str:
    return f"{action}-{uuid.uuid4().hex}"
