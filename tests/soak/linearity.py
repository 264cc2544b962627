"""Whether what many processes did at once is what they could have done one after the other.

A pure function of what was recorded: `faults(record)`. The history has an order, and each change in
it must be one that the registry allowed at that place. What a process was told must stand in it,
at a time between its start and its end; what nobody asked for must not.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from perdure.flows import tournament
from perdure.records import Event, Tournament, Version

MOVES = ("promoted", "forced", "rolled back")
"""Events that move the champion."""
ANY = -1
"""Stands for the champion before, where an operation does not tell it."""
MAKES = {
    "promote": ("promoted", "forced"),
    "rollback": ("rolled back",),
    "retrain": MOVES,
}
"""Which of them an operation may write; a retraining may take the champion back, too."""


@dataclass(frozen=True)
class Line:
    """One line of the history, with its number and the change that it is part of."""

    sequence: int
    change: str
    event: Event


@dataclass(frozen=True)
class Operation:
    """What one process was asked, and what it said."""

    name: str
    start: float
    """Seconds since 1970, before it was started."""
    end: float
    """After it ended, or was killed."""
    told: tuple[tuple[int, int | None], ...] = ()
    """Champions that it said it made, each with the one before."""
    killed: bool = False


@dataclass(frozen=True)
class Record:
    """What stands when all have ended, and what they were told."""

    lines: tuple[Line, ...]
    count: int
    """How many events there are, as the registry counts them."""
    aliases: Mapping[str, int]
    versions: tuple[Version, ...]
    tournament: Tournament
    held: frozenset[str] = frozenset()
    pending: tuple[str, ...] = ()
    experiences: tuple[str, ...] = ()
    operations: tuple[Operation, ...] = ()
    before: int = 0
    """So many champions were made before the operations began."""


def faults(record: Record) -> Iterator[str]:
    """Everything that could not have come about one after the other."""
    lines = sorted(record.lines, key=lambda line: line.sequence)
    yield from _numbered(record, lines)
    yield from _one_at_a_time(lines)
    yield from _champions(record, lines)
    yield from _told(record, lines)
    yield from _versions(record)
    yield from _experiences(record)
    yield from _evidence(record)


def _numbered(record: Record, lines: list[Line]) -> Iterator[str]:
    """Each line has a number of its own, without a gap."""
    numbers = [line.sequence for line in lines]
    if numbers != list(range(len(lines))):
        twice = sorted(number for number, count in Counter(numbers).items() if count > 1)
        gaps = sorted(set(range(len(lines))) - set(numbers))
        yield f"the history has lines twice: {twice}, and gaps: {gaps}"
    if record.count != len(lines):
        yield f"the history has {len(lines)} lines; the registry counts {record.count}"


def _one_at_a_time(lines: list[Line]) -> Iterator[str]:
    """The lines of a change stand together."""
    blocks = [change for change, _ in itertools.groupby(lines, key=lambda line: line.change)]
    for change, count in Counter(blocks).items():
        if count > 1:
            yield f"another change stands between the lines of {change}"


def _champions(record: Record, lines: list[Line]) -> Iterator[str]:
    """What was replaced was the champion, and the aliases are where the last change left them."""
    champion: int | None = None
    for line in lines:
        event = line.event
        if event.action not in MOVES:
            continue
        if event.replaced != champion:
            yield (
                f"line {line.sequence}: {event.action} {event.version} in place of "
                f"{event.replaced}, but the champion was {champion}"
            )
        champion = event.version
    if record.aliases.get("champion") != champion:
        yield f"the champion is {record.aliases.get('champion')}, by the history {champion}"
    last = {
        line.event.version: line.event.replaced
        for line in lines
        if line.event.action in ("promoted", "forced")
    }
    for one in record.versions:
        if one.version in last and one.replaced != last[one.version]:
            yield (
                f"version {one.version} says that it replaced {one.replaced}, the history "
                f"{last[one.version]}"
            )


def _told(record: Record, lines: list[Line]) -> Iterator[str]:
    """Each answer has its line, at a time when it was asked for; and each line was asked for."""
    moves = [line for line in lines if line.event.action in MOVES][record.before :]
    free = list(moves)
    placed: list[tuple[Operation, int]] = []
    for operation in sorted(record.operations, key=lambda one: one.end):
        for version, replaced in operation.told:
            found = next(
                (
                    line
                    for line in free
                    if line.event.version == version
                    and replaced in (ANY, line.event.replaced)
                    and (_may_be(operation, line) or _finished(record, operation, line))
                ),
                None,
            )
            if found is None:
                yield (
                    f"{operation.name} said that {version} took the place of {replaced}; the "
                    "history does not"
                )
                continue
            free.remove(found)
            placed.append((operation, found.sequence))
    for line in free:  # of processes that were killed before they could tell
        if not any(not one.told and _may_be(one, line) for one in record.operations):
            yield f"line {line.sequence}: nobody asked for {line.event.action} {line.event.version}"
    for (first, at), (second, later) in itertools.permutations(placed, 2):
        if first.end < second.start and at > later:
            yield f"line {later} was over when what is line {at} began"


def _finished(record: Record, operation: Operation, line: Line) -> bool:
    """Whether a rollback told what another one was killed at, which it found and finished."""
    return (
        operation.name == "rollback"
        and _seconds(line) <= operation.end
        and any(
            one.killed and one.name == "rollback" and _may_be(one, line)
            for one in record.operations
        )
    )


def _may_be(operation: Operation, line: Line) -> bool:
    return (
        line.event.action in MAKES.get(operation.name, ())
        and operation.start <= _seconds(line) <= operation.end
    )


def _seconds(line: Line) -> float:
    return datetime.fromisoformat(line.event.at).timestamp()


def _versions(record: Record) -> Iterator[str]:
    """Each learning step is one version, and goes on from what its parent knew."""
    keys = Counter(one.learning_key for one in record.versions)
    if twice := [key[:12] for key, count in keys.items() if count > 1]:
        yield f"registered twice: {twice}"
    known = {one.version: one for one in record.versions}
    for one in record.versions:
        parent = known[one.parent].cursor if one.parent in known else ()
        if one.cursor != (*parent, one.experience):
            yield f"version {one.version} does not go on from version {one.parent}"


def _experiences(record: Record) -> Iterator[str]:
    """Each experience is learned, held or pending, and only one of the three."""
    challenger = record.aliases.get("challenger")
    cursor = next((one.cursor for one in record.versions if one.version == challenger), ())
    learned, pending = set(cursor), set(record.pending)
    if both := (learned & record.held) | (pending & (learned | record.held)):
        yield f"in two places: {sorted(both)}"
    if lost := set(record.experiences) - learned - pending - record.held:
        yield f"lost: {sorted(lost)}"


def _evidence(record: Record) -> Iterator[str]:
    """Who takes part is there, has its alias, and has no more evidence than there is data."""
    state = record.tournament
    wanted = tournament.aliases(state)
    found = {alias: record.aliases.get(alias) for alias in wanted}
    if found != wanted:
        yield f"the aliases are {found}, by the tournament {wanted}"
    numbers = {one.version for one in record.versions}
    challenger = record.aliases.get("challenger")
    for entrant in state.entrants:
        if entrant.version not in numbers:
            yield f"version {entrant.version} takes part, and is not there"
        if entrant.role == "contender" and entrant.version == challenger:
            yield f"version {entrant.version} is measured against itself"
        if entrant.better.experiences > len(record.experiences):
            yield f"version {entrant.version} has evidence of more experiences than there are"
    newest = max((int(name[:6]) for name in record.experiences), default=0)
    if state.measured > newest:
        yield f"experience {state.measured} gave evidence, and the newest one is {newest}"
