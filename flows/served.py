"""What served at a time, by the recorded events. Reads only, and waits for no lock."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from perdure.errors import UsageError
from perdure.records import Event, Verdict
from perdure.records.provenance import ServedThen
from perdure.tasks.registry import Registry
from perdure.workspace import open_workspace

SERVES = ("promoted", "forced", "rolled back")
"""Actions that make a version the champion."""


def at(workspace: str, when: str) -> ServedThen:
    """What served at a time, since when, and what the gates said of it.

    Args:
        workspace: Folder of the workspace.
        when: ISO 8601, a date (its first moment) or a date and a time; without a zone it is of
            this machine's.

    Raises:
        UsageError: It is no such time, has not come yet, or is before the first version served.
    """
    wanted = _time(when)
    ws = open_workspace(workspace)
    registry = Registry(ws)
    found = moves(registry.history())
    # By their order: clocks of two machines may differ by a little.
    place = max((n for n, one in enumerate(found) if _of(one) <= wanted), default=None)
    if place is None:
        first = f"version {found[0].version} at {found[0].at}" if found else "none has served yet"
        raise UsageError(
            f"nothing served at {_iso(wanted)}; the first: {first}", hint="perdure history"
        )
    event, later = found[place], found[place + 1 :]
    verdict, registered = _verdict(registry, event.version)
    return ServedThen(
        at=_iso(wanted),
        version=event.version,
        since=event.at,
        until=later[0].at if later else None,
        action=event.action,
        by=event.by,
        reason=event.reason,
        experience=event.experience,
        verdict=verdict,
        registered=registered,
        moved_in_mlflow="champion" in registry.read().moved,
    )


def moves(events: Iterable[Event]) -> list[Event]:
    """The events after which another version served than before, in their order."""
    found: list[Event] = []
    for event in events:
        if not _serves(event):
            continue
        # A rollback to what serves moves the challenger alone.
        if not found or found[-1].version != event.version:
            found.append(event)
    return found


def _serves(event: Event) -> bool:
    """Whether an event is about which version serves; no version: none serves from then on."""
    if event.action == "moved":
        return (event.reason or "").startswith("the alias champion ")
    if event.action == "forgot":  # where the champion had not seen the rows, it stayed
        return event.version is not None or event.replaced is not None
    return event.action in SERVES


def _verdict(registry: Registry, number: int | None) -> tuple[Verdict | None, bool]:
    try:
        return (None, False) if number is None else (registry.verdict(number), True)
    except UsageError:  # it was removed from the registry
        return None, False


def _time(text: str) -> datetime:
    now = datetime.now(UTC)
    try:
        found = datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        example = now.astimezone().isoformat(sep=" ", timespec="minutes")
        raise UsageError(
            f"--at {text!r} is no time: {error}",
            hint=f"a date such as {example[:10]}, or a date and a time such as '{example}'",
        ) from error
    if found > now:
        raise UsageError(
            f"--at {text!r} has not come yet: it is {_iso(now)} now",
            hint="perdure status says what serves now",
        )
    return found


def _of(event: Event) -> datetime:
    return datetime.fromisoformat(event.at)


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")
