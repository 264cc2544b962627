"""Of several machines that share a registry, which one tells what is new.

Up to where it was told stands in a tag of the model, and who is at it in another. MLflow has no
compare-and-swap: who begins writes its name, waits, and looks whether it is still there. What a
machine has written down to be sent is sent only once the registry says that it told it; so one
that was killed in between, or slept, and was taken over from sends nothing of it.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import asdict

from perdure.flows.service.outbox import Outbox, Told
from perdure.tasks.registry.news import News, Standing

TOLD, TELLING = "told", "telling"
"""Tags of the model: up to where it was told, and who is at it."""
NOBODY = "nobody"
SETTLE_S = 1.0
"""How long one that begins to tell waits before it looks whether another one began too."""
CLAIM_S = 120.0
"""Who has been at it for so long was killed."""


def theirs(news: News, standing: Standing, identity: str) -> Told | None:
    """Up to where it was told, as the registry says; None: it says nothing, or is not shared."""
    text = news.noted(standing, TOLD) if news.shared else None
    try:
        return Told(**{**json.loads(text), "registry": identity}) if text else None
    except (ValueError, TypeError):  # somebody changed the tag: this machine's own counts
        return None


def claimed(news: News, box: Outbox, told: Told) -> str | None:
    """The name under which this machine tells what is new; None: another one does.

    Args:
        news: A registry that is shared.
        box: Remembers since when another one has been at it, on this machine's own clock.
        told: Up to where it was told, as far as this machine knows.
    """
    said = _said(news)
    if said != NOBODY:
        now = time.time()
        if box.claim is None or box.claim[0] != said:
            box.claim = (said, now)
            box.save()
        if 0 <= now - box.claim[1] < CLAIM_S:
            return None
    name = uuid.uuid4().hex
    news.note(TELLING, name)
    time.sleep(SETTLE_S)
    if _said(news) != name:
        return None
    standing = news.standing()
    found = theirs(news, standing, told.registry) if standing else None
    if found is not None and found.turn > told.turn:
        news.note(TELLING, NOBODY)
        return None
    return name


def _said(news: News) -> str:
    standing = news.standing()
    return (news.noted(standing, TELLING) if standing else None) or NOBODY


def confirm(news: News, box: Outbox) -> None:
    """Have the registry say what this machine has noted; what another one told is not sent."""
    if box.told is None or box.unshared is None:
        return
    standing = news.standing()
    if standing is not None:
        found = theirs(news, standing, box.told.registry)
        if found is None or found.turn < box.told.turn:
            said = {name: one for name, one in asdict(box.told).items() if name != "registry"}
            news.note(TOLD, json.dumps(said))
        elif found.by != box.told.by:
            box.drop(box.unshared)
            box.told = found
        news.note(TELLING, NOBODY)
    box.unshared = box.claim = None
    box.save()
