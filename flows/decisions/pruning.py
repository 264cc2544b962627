"""Which versions may be removed. A pure function of what stands; no outside system."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from perdure.records import Registered, Version


@dataclass(frozen=True)
class PruneRules:
    """How much of the past stays."""

    keep: int
    """So many of the newest versions that were promoted, and so many rollbacks in a row."""
    days: int
    """A version stays for so many days after it was registered, and after the last event of it."""
    at: datetime
    """Now."""

    @property
    def since(self) -> datetime:
        """What happened from then on is recent."""
        return self.at - timedelta(days=self.days)


def prunable(
    versions: Sequence[Version],
    now: Registered,
    aliases: Mapping[str, int],
    recent: Collection[int],
    pending: Collection[str],
    rules: PruneRules,
) -> tuple[dict[int, str], dict[int, str]]:
    """Decide which versions go, and which stay.

    Args:
        versions: All that there are.
        now: What stands.
        aliases: Every alias, those that a person set in MLflow, too.
        recent: Versions that an event since `rules.since` names, also as the one replaced.
        pending: Ids of the experiences that wait to be learned.
        rules: How much stays.

    Returns:
        Why each version goes, and why each other one stays; by number.
    """
    known = {one.version: one for one in versions}
    stays: dict[int, str] = {}
    for number, why in (
        *_named(aliases),
        *(
            (e.version, f"is measured beside the champion: {e.role}")
            for e in now.tournament.entrants
        ),
        *_reached(known, now, rules.keep),
        *_newest(versions, rules.keep),
    ):
        stays.setdefault(number, why)
    goes = {}
    for one in versions:
        if one.version in stays:
            continue
        if (needed := _young(one, recent, pending, rules)) is not None:
            stays[one.version] = needed
        else:
            goes[one.version] = _why(one, rules)
    return goes, {number: why for number, why in stays.items() if number in known}


def _named(aliases: Mapping[str, int]) -> Iterator[tuple[int, str]]:
    for number in sorted(set(aliases.values())):
        names = sorted(alias for alias, at in aliases.items() if at == number)
        yield number, f"has the alias {', '.join(names)}"


def _reached(known: Mapping[int, Version], now: Registered, keep: int) -> Iterator[tuple[int, str]]:
    """What rollbacks in a row reach: from the champion, and from whoever may take its place."""
    roots = [one.version for one in (now.champion, now.challenger) if one is not None]
    roots += [entrant.version for entrant in now.tournament.entrants]
    for root in roots:
        number, seen = root, {root}
        for _ in range(keep):
            version = known.get(number)
            if version is None or version.replaced is None or version.replaced in seen:
                break
            number = version.replaced
            seen.add(number)
            yield number, f"rollbacks from version {root} reach it"


def _newest(versions: Sequence[Version], keep: int) -> Iterator[tuple[int, str]]:
    promoted = sorted(one.version for one in versions if one.promoted)
    for number in promoted[-keep:]:
        yield number, f"is among the newest {keep} that were promoted"


def _young(
    one: Version, recent: Collection[int], pending: Collection[str], rules: PruneRules
) -> str | None:
    """Why a version stays that nothing else needs."""
    if one.verdict is None or one.experience in pending:
        return f"{one.experience} is pending: it may be judged again"
    if one.version in recent or datetime.fromisoformat(one.created_at) >= rules.since:
        return f"something happened to it in the last {_days(rules.days)}"
    return None


def _why(one: Version, rules: PruneRules) -> str:
    was = (
        f"promoted, and not among the newest {rules.keep}"
        if one.promoted
        else "refused"
        if one.verdict == "refused"
        else "never promoted"
    )
    return was + (f"; nothing happened to it for {_days(rules.days)}" if rules.days else "")


def _days(count: int) -> str:
    return f"{count} day{'' if count == 1 else 's'}"
