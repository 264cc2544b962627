"""What is new in the registry's history, put into the outbox.

Up to where it was told stands in the outbox; on a registry that several machines share, in a tag
of the model too, so that one of them tells it.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime

from perdure.config import Workspace
from perdure.config.unattended import Occasion
from perdure.flows.service import claims, outbox, posting
from perdure.flows.service.notice import Notice, where
from perdure.flows.service.outbox import Outbox, Told
from perdure.records import IN_MLFLOW, Event
from perdure.tasks.registry.news import News, Standing

STALE_S = outbox.GIVE_UP_S
"""What is older than this is no news, to one that has not looked meanwhile."""
RECORDED_S = 60.0
"""A move in MLflow that the history does not have after so long is told without it."""
MOST_AT_ONCE = 200
"""Of more events the oldest are not told."""

_OCCASIONS: dict[str, Occasion] = {
    "promoted": "promoted",
    "forced": "promoted",
    "refused": "refused",
    "held": "held",
    "rolled back": "rolled back",
}
_MOVES = ("promoted", "forced", "rolled back")
"""Actions that move the champion."""
_looked: dict[str, float] = {}
"""When this process last looked at each registry, on a clock that is never set."""
_moved: dict[tuple[str, int | None], float] = {}
"""When it first saw that a champion was moved in MLflow, by registry and version."""


def gather(ws: Workspace, box: Outbox) -> None:
    """Put what is new into the outbox; the first time ever, only note where the history stands.

    Raises:
        Unreachable: MLflow does not answer.
    """
    news = News(ws)
    identity = hashlib.sha256(f"{news.client.uri} {news.name}".encode()).hexdigest()[:16]
    standing = news.standing() or Standing(0, None, False, {})
    if box.told is not None and box.told.registry != identity:
        box.told = box.unshared = None
    claims.confirm(news, box)  # killed, or MLflow went away, before it was done
    mine, theirs = box.told, claims.theirs(news, standing, identity)
    told = max((one for one in (mine, theirs) if one), key=lambda t: t.turn, default=None)
    if told is None or told.events > standing.events:  # never, or another history
        _note(news, box, Told(identity, told.turn if told else 0, 0, None), standing)
    elif (told.events, told.champion) == (standing.events, standing.champion):
        if mine is None or mine.turn < told.turn:
            box.told = told
            box.save()
    elif standing.changing or _is_recorded_soon(identity, standing):
        return
    else:
        _tell(ws, news, box, told, standing)
    _looked[identity] = time.monotonic()


def _tell(ws: Workspace, news: News, box: Outbox, told: Told, standing: Standing) -> None:
    """Put what is new into the outbox, unless another machine does."""
    name = claims.claimed(news, box, told) if news.shared else ""
    if name is None:
        return
    watched = time.monotonic() - _looked.get(told.registry, -STALE_S) < STALE_S
    new = news.events(max(told.events, standing.events - MOST_AT_ONCE), standing.events)
    number = standing.events - len(new)
    box.adding = told.turn + 1 if news.shared else None
    champion = told.champion
    for _, found in itertools.groupby(new, key=lambda event: event.at):
        group = list(found)
        move = next((event for event in group if event.action in _MOVES), None)
        # It was told when it was seen, before the history had it.
        known = move if move and (move.by, move.version) == (IN_MLFLOW, champion) else None
        if watched or _is_news(group[0].at):
            _add(ws, box, told.registry, number, group, known)
        champion = move.version if move else champion
        number += len(group)
    if _moved_elsewhere(told, standing, new):
        _add_elsewhere(ws, box, told, standing)
    box.adding = None
    _note(news, box, replace(told, by=name), standing)


def _note(news: News, box: Outbox, told: Told, standing: Standing) -> None:
    """Remember up to where it was told: here first, for what is to be sent stands here."""
    turn = told.turn + 1
    box.told = replace(told, turn=turn, events=standing.events, champion=standing.champion)
    box.unshared = turn if news.shared else None
    box.save()
    claims.confirm(news, box)


def _add(
    ws: Workspace,
    box: Outbox,
    identity: str,
    number: int,
    group: list[Event],
    known: Event | None,
) -> None:
    """Put the events of one change into the outbox.

    Args:
        ws: The workspace.
        box: The outbox.
        identity: Of the registry.
        number: Of the first event.
        group: The events.
        known: One of them that was told already as a move in MLflow.
    """
    sent = () if known is None else _notices(ws, [_as_seen(known.version, known.replaced)])
    posting.people(ws, box, _notices(ws, group), sent)
    for at, event in enumerate(group, number):
        what = _occasion(event) or event.action
        if what in posting.EVENTS and event is not known:
            posting.event(box, what, f"{identity} {at} {event.at}", asdict(event))


def _occasion(event: Event) -> Occasion | None:
    """What people are told of an event; None: nothing."""
    if event.action == "moved" and event.by != IN_MLFLOW:
        return "waiting"
    return _OCCASIONS.get(event.action)


def _notices(ws: Workspace, group: Sequence[Event]) -> list[Notice]:
    """The notices of the events of one change, the weightiest first."""
    held = tuple(str(event.experience) for event in group if event.action == "held")
    found: dict[Occasion, Notice] = {}
    for event in group:
        occasion = _occasion(event)
        if occasion is None or occasion in found:
            continue
        is_learned = occasion in ("promoted", "waiting") and event.experience
        learned = (event.experience,) if is_learned and event.experience else held
        found[occasion] = Notice(
            occasion,
            ws.config.model.name,
            event.at,
            where(ws.root),
            version=event.version,
            replaced=event.replaced,
            experiences=learned,
            reason=event.reason,
            by=event.by,
        )
    return list(found.values())


def _is_news(at: str) -> bool:
    try:
        return time.time() - datetime.fromisoformat(at).timestamp() < STALE_S
    except ValueError:
        return True


def _is_recorded_soon(identity: str, standing: Standing) -> bool:
    """Whether the history will have a move in MLflow: the next command records it, or `perdure up`.

    It knows more of it: whether it is a rollback, and what it holds.
    """
    if not standing.moved:
        for key in [key for key in _moved if key[0] == identity]:
            del _moved[key]
        return False
    now = time.monotonic()
    return now - _moved.setdefault((identity, standing.champion), now) < RECORDED_S


def _moved_elsewhere(told: Told, standing: Standing, new: Sequence[Event]) -> bool:
    """Whether the champion stands where no event of ours has put it."""
    if standing.champion in (None, told.champion):
        return False
    return not any(e.action in _MOVES and e.version == standing.champion for e in new)


def _add_elsewhere(ws: Workspace, box: Outbox, told: Told, standing: Standing) -> None:
    happened = _as_seen(standing.champion, told.champion)
    posting.people(ws, box, _notices(ws, [happened]))
    moved = f"{told.registry} moved {told.turn} {told.champion} {standing.champion}"
    posting.event(box, "promoted", moved, asdict(happened))


def _as_seen(new: int | None, old: int | None) -> Event:
    """A move of the champion that the history does not have."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    reason = "the alias champion was moved in MLflow, not by Perdure"
    return Event(at, "promoted", new, old, None, reason, IN_MLFLOW)
