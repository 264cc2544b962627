"""What a person moved in MLflow itself, recorded as the decision that it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
from perdure.flows.decisions.people import promoted_by_hand
from perdure.flows.decisions.rollback import after_rollback, going_back, strangers
from perdure.records import IN_MLFLOW, Change, Entrant, Event, Held, Registered, Version


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
        change = going_back(then, is_, why, False, IN_MLFLOW, at)
        state, gone = after_rollback(then, is_, at, IN_MLFLOW)
        change = replace(change, events=(*change.events, *gone))
    else:
        change = promoted_by_hand(then, is_, False, why, IN_MLFLOW, lines["challenger"])
        assert change.tournament is not None
        state = change.tournament
    if "challenger" in now.moved:  # that is a decision, too
        change = _keeping(now, change)
    change = replace(change, key=new_key("moved"), expects=expected(now))
    return with_tournament(now, change, state)


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
        let_go(entrant, why, at, IN_MLFLOW) for entrant in entrants if entrant.role == "contender"
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
        events = (*events, event_of("moved", version, IN_MLFLOW, reason=reason, at=at))
        if least is not None:
            other = "another contender took its place"
            events = (*events, let_go(least, other, at, IN_MLFLOW))
    change = Change(key=new_key("entrants"), expects=expected(now), events=events)
    return with_tournament(now, change, state)


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
    state, gone = now.tournament, tuple[Event, ...]()
    if "challenger" in now.moved and is_ is not None:  # that is who contenders are measured against
        contenders = strangers(now, is_)
        gone = tuple(let_go(e, f"goes on from a version after {is_.version}", at, IN_MLFLOW)
                     for e in contenders)  # fmt: skip
        away = [e.version for e in contenders] + contender_of(now, is_)
        state = tournament.restarted(tournament.without(state, away), None)
    change = Change(
        key=new_key("moved"),
        expects=expected(now),
        aliases={alias: now.aliases.get(alias) for alias in now.moved if alias in now.aliases},
        hold=tuple(Held(i, (reasons,), at, IN_MLFLOW) for i in held),
        release=release,
        events=(
            *events,
            *(Event(at, "held", experience=i, reason=reasons, by=IN_MLFLOW) for i in held),
            *gone,
        ),
        recorded={alias: now.aliases.get(alias) for alias in now.moved},
    )
    return change if state == now.tournament else with_tournament(now, change, state)
