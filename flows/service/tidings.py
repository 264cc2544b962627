"""What is new in the registry's history, put into the outbox.

Up to where it was told stands in the outbox; on a registry that several machines share, in a tag
of the model too, so that one of them tells it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime

from perdure.config import Workspace
from perdure.config.unattended import Occasion
from perdure.flows.service import events, outbox, posting
from perdure.flows.service.notice import Notice, where
from perdure.flows.service.outbox import Outbox, Told
from perdure.records import Event
from perdure.tasks.registry.news import News, Standing

TOLD, TELLING = "told", "telling"
"""Tags of the model: up to where it was told, and who is at it."""
NOBODY = "nobody"
SETTLE_S = 1.0
"""How long one that begins to tell waits before it looks whether another one began too."""
CLAIM_S = 120.0
"""Who began to tell this long ago and is not done was killed."""
STALE_S = outbox.GIVE_UP_S
"""What is older than this is no news."""
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


def gather(ws: Workspace, box: Outbox) -> None:
    """Put what is new into the outbox; the first time ever, only note where the history stands.

    Raises:
        Unreachable: MLflow does not answer.
    """
    news = News(ws)
    identity = hashlib.sha256(f"{news.client.uri} {news.name}".encode()).hexdigest()[:16]
    standing = news.standing() or Standing(0, None, False, {})
    mine, theirs = _mine(box, identity), _theirs(news, standing, identity)
    told = max((one for one in (mine, theirs) if one), key=lambda t: t.turn, default=None)
    if told is None or told.events > standing.events:  # never, or another history
        _note(news, box, Told(identity, 0, standing.events, standing.champion), standing)
        return
    if standing.changing:
        return
    if (told.events, told.champion) == (standing.events, standing.champion):
        if mine is None or mine.turn < told.turn:
            box.told = told
            box.save()
        elif theirs is None or theirs.turn < told.turn:  # killed between the two
            _share(news, told, standing)
        return
    if news.shared and not _claimed(news, told):
        return
    new = news.events(max(told.events, standing.events - MOST_AT_ONCE), standing.events)
    number = standing.events - len(new)
    for _, group in itertools.groupby(new, key=lambda event: event.at):
        number = _add(ws, box, identity, number, list(group))
    if _moved_elsewhere(told, standing, new):
        _add_elsewhere(ws, box, identity, told, standing)
    _note(news, box, replace(told, events=standing.events, champion=standing.champion), standing)


def _mine(box: Outbox, identity: str) -> Told | None:
    return box.told if box.told is not None and box.told.registry == identity else None


def _theirs(news: News, standing: Standing, identity: str) -> Told | None:
    text = news.noted(standing, TOLD) if news.shared else None
    try:
        return Told(**{**json.loads(text), "registry": identity}) if text else None
    except (ValueError, TypeError):  # somebody changed the tag: this machine's own counts
        return None


def _note(news: News, box: Outbox, told: Told, standing: Standing) -> None:
    """Remember up to where it was told: here first, for what is to be sent stands here."""
    box.told = replace(told, turn=told.turn + 1)
    box.save()
    _share(news, box.told, standing)


def _share(news: News, told: Told, standing: Standing) -> None:
    if not news.shared or not (standing.tags or standing.champion is not None):
        return
    value = {name: item for name, item in asdict(told).items() if name != "registry"}
    news.note(TOLD, json.dumps(value))
    news.note(TELLING, NOBODY)


def _claimed(news: News, told: Told) -> bool:
    """Whether this machine is the one that tells what is new on a shared registry.

    MLflow has no compare-and-swap: who begins writes its name, waits, and looks whether it is
    still there, and whether another one was done meanwhile.
    """
    holder, since = _claim(news)
    if holder != NOBODY and 0 <= time.time() - since < CLAIM_S:
        return False
    token = uuid.uuid4().hex
    news.note(TELLING, f"{token} {int(time.time())}")
    time.sleep(SETTLE_S)
    if _claim(news)[0] != token:
        return False
    standing = news.standing()
    theirs = _theirs(news, standing, told.registry) if standing else None
    if theirs is not None and theirs.turn > told.turn:
        news.note(TELLING, NOBODY)
        return False
    return True


def _claim(news: News) -> tuple[str, float]:
    """Who is at it, and since when, in seconds since 1970."""
    standing = news.standing()
    text = (news.noted(standing, TELLING) if standing else None) or NOBODY
    holder, _, since = text.partition(" ")
    return holder, float(since) if since.isdecimal() else 0.0


def _add(ws: Workspace, box: Outbox, identity: str, number: int, group: list[Event]) -> int:
    """Put the events of one change into the outbox; the number of the next event."""
    candidates = _notices(ws, group)
    if candidates and _is_news(group[0].at):
        posting.people(ws, box, candidates)
        for at, event in enumerate(group, number):
            if occasion := _OCCASIONS.get(event.action):
                posting.event(box, occasion, f"{identity} {at} {event.at}", asdict(event))
    return number + len(group)


def _notices(ws: Workspace, group: Sequence[Event]) -> list[Notice]:
    """The notices of the events of one change, the weightiest first."""
    held = tuple(str(event.experience) for event in group if event.action == "held")
    found: dict[Occasion, Notice] = {}
    for event in group:
        occasion = _OCCASIONS.get(event.action)
        if occasion is None or occasion in found:
            continue
        learned = (event.experience,) if occasion == "promoted" and event.experience else held
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


def _moved_elsewhere(told: Told, standing: Standing, new: Sequence[Event]) -> bool:
    """Whether the champion stands where no event of ours has put it."""
    if standing.champion in (None, told.champion):
        return False
    return not any(e.action in _MOVES and e.version == standing.champion for e in new)


def _add_elsewhere(
    ws: Workspace, box: Outbox, identity: str, told: Told, standing: Standing
) -> None:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    reason = "the alias champion was moved in MLflow, not by Perdure"
    new, old = standing.champion, told.champion
    happened = Event(at, "promoted", new, old, None, reason, events.ELSEWHERE)
    posting.people(ws, box, _notices(ws, [happened]))
    moved = f"{identity} moved {told.turn} {old} {new}"
    posting.event(box, "promoted", moved, asdict(happened))
