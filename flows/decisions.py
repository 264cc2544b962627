"""From a verdict or a wish to the change of the registry that it asks for. No outside system."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from perdure.records import Action, Change, Event, Held, Registered, Verdict, Version


def utc_now() -> str:
    """The time, UTC, ISO 8601; as fine as the quarantine's, for the history merges the two."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def expected(now: Registered) -> dict[str, int | None]:
    """The aliases that a decision was made on."""
    return {
        "champion": now.champion.version if now.champion else None,
        "challenger": now.challenger.version if now.challenger else None,
    }


def passed(now: Registered, version: Version, verdict: Verdict, automatic: bool, by: str) -> Change:
    """The challenger moves, and with automatic promotion the champion."""
    replaced = now.champion.version if now.champion else None
    promoted = _event("promoted", version, by, replaced=replaced, reason="passed every gate")
    return Change(
        key=_key("passed"),
        expects=expected(now),
        aliases={"challenger": version.version}
        | ({"champion": version.version} if automatic else {}),
        replaced={version.version: replaced} if automatic else {},
        verdicts={version.version: verdict},
        events=(promoted,) if automatic else (),
    )


def refused(now: Registered, version: Version, verdict: Verdict, by: str) -> Change:
    """The aliases stay; the experience is held with the reasons."""
    reason = "; ".join(verdict.refusals)
    at = utc_now()
    return Change(
        key=_key("refused"),
        expects=expected(now),
        verdicts={version.version: verdict},
        hold=(Held(version.experience, verdict.refusals, at, by),),
        events=(
            _event("refused", version, by, reason=reason, at=at),
            Event(at, "held", experience=version.experience, reason="refused by a gate", by=by),
        ),
    )


def unlearnable(experience: str, reason: str, by: str) -> Change:
    """An experience that cannot be learned at all is held; nothing else changes."""
    at = utc_now()
    return Change(
        key=_key("held"),
        hold=(Held(experience, (reason,), at, by),),
        events=(Event(at, "held", experience=experience, reason=reason, by=by),),
    )


def promoted_by_hand(
    now: Registered, version: Version, forced: bool, reason: str | None, by: str
) -> Change:
    """The champion moves; the challenger too, unless it already goes on from this version.

    What the version has learned is no longer held.
    """
    replaced = now.champion.version if now.champion else None
    goes_on = now.challenger is not None and _descends(now.challenger, version)
    aliases = {"champion": version.version} | ({} if goes_on else {"challenger": version.version})
    action: Action = "forced" if forced else "promoted"
    return Change(
        key=_key(action),
        expects=expected(now),
        aliases=aliases,
        replaced={version.version: replaced},
        release=tuple(id_ for id_ in version.cursor if id_ in now.held),
        events=(_event(action, version, by, replaced=replaced, reason=reason),),
    )


def rolled_back(
    now: Registered, target: Version, reason: str | None, keep_data: bool, by: str
) -> Change:
    """Both aliases move; what only the abandoned versions had learned is held, or left pending."""
    replaced = now.champion.version if now.champion else None
    abandoned = [v for v in (now.champion, now.challenger) if v is not None]
    only_there = dict.fromkeys(
        id_ for v in abandoned for id_ in v.cursor if id_ not in target.cursor
    )
    newest = max((v.version for v in abandoned), default=replaced)
    why = f"learned only by versions after {target.version}, rolled back from {newest}"
    why += f": {reason}" if reason else ""
    at = utc_now()
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


def _descends(version: Version, ancestor: Version) -> bool:
    """Whether a learner goes on from another: the other's cursor is the beginning of its own."""
    length = len(ancestor.cursor)
    return version.version == ancestor.version or (
        version.cursor[:length] == ancestor.cursor and version.version > ancestor.version
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
