"""The checker of histories accepts what can be, and finds each thing that cannot."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from perdure.records import (
    DataRevision,
    Entrant,
    Event,
    Evidence,
    Tournament,
    Version,
)
from tests.soak.linearity import ANY, Line, Operation, Record, faults

START = 1_750_000_000.0
NAMES = tuple(f"{number:06d}-aaaaaaaa" for number in range(1, 5))


def at(second: float) -> str:
    return datetime.fromtimestamp(START + second, UTC).isoformat()


def line(sequence: int, second: float, action: Any, version: int, replaced: int | None) -> Line:
    return Line(sequence, f"change {sequence}", Event(at(second), action, version, replaced))


def version(number: int, replaced: int | None) -> Version:
    return Version(
        version=number,
        learning_key=f"{number}" * 12,
        parent=number - 1 or None,
        experience=NAMES[number - 1],
        weights_sha256="w",
        state_sha256="s",
        cursor=NAMES[:number],
        data=DataRevision(None, None),
        code=None,
        strategy=(),
        verdict="passed",
        reasons=(),
        replaced=replaced,
        run_id="",
        created_at=at(0),
    )


def asked(
    name: str, start: float, end: float, *result: tuple[int, int | None], **more: Any
) -> Operation:
    return Operation(name, START + start, START + end, result, **more)


GOOD = Record(
    lines=(
        line(0, 0, "promoted", 1, None),
        line(1, 1, "promoted", 2, 1),
        line(2, 11, "rolled back", 1, 2),
        Line(3, "change 2", Event(at(11), "held", experience=NAMES[1])),
        line(4, 14, "promoted", 2, 1),
        line(5, 21, "rolled back", 1, 2),
        line(6, 31, "promoted", 3, 1),
    ),
    count=7,
    aliases={"champion": 3, "challenger": 3, "anchor": 1},
    versions=(version(1, None), version(2, 1), version(3, 1)),
    tournament=Tournament(measured=3, entrants=(Entrant(1, "anchor"),)),
    held=frozenset({NAMES[3]}),
    experiences=NAMES,
    operations=(
        asked("rollback", 10, 12, (1, 2)),
        asked("promote", 11, 16, (2, 1)),  # beside the one before, and after it
        asked("rollback", 20, 22, killed=True),  # it had begun, and another one finished it
        asked("retrain", 25, 40, (3, ANY)),
        asked("promote", 26, 27),  # refused
    ),
    before=2,
)


def without(record: Record, sequence: int) -> Record:
    return replace(record, lines=tuple(one for one in record.lines if one.sequence != sequence))


def changed(record: Record, sequence: int, **event: Any) -> Record:
    return replace(
        record,
        lines=tuple(
            replace(one, event=replace(one.event, **event)) if one.sequence == sequence else one
            for one in record.lines
        ),
    )


def operations(*new: Operation, without: int | None = None) -> Record:
    kept = [one for number, one in enumerate(GOOD.operations) if number != without]
    return replace(GOOD, operations=(*kept, *new))


def test_what_can_be_is_accepted() -> None:
    assert list(faults(GOOD)) == []
    assert list(faults(replace(GOOD, lines=GOOD.lines[::-1]))) == []
    # A rollback that another one finished is told by that one.
    result = operations(asked("rollback", 22.5, 24, (1, 2)))
    assert list(faults(result)) == []


@pytest.mark.parametrize(
    ("record", "what"),
    [
        (changed(GOOD, 4, replaced=2), "promoted 2 in place of 2, but the champion was 1"),
        (replace(GOOD, aliases={**GOOD.aliases, "champion": 2}), "by the history 3"),
        (without(GOOD, 3), "gaps: [3]"),
        (replace(GOOD, count=8), "the registry counts 8"),
        (
            replace(GOOD, lines=(*GOOD.lines, replace(GOOD.lines[6], change="another"))),
            "lines twice: [6]",
        ),
        (
            replace(
                GOOD,
                lines=tuple(
                    replace(one, change="change 2") if one.sequence == 5 else one
                    for one in GOOD.lines
                ),
            ),
            "another change stands between the lines of change 2",
        ),
        (
            replace(GOOD, versions=(*GOOD.versions[:2], version(3, 2))),
            "version 3 says that it replaced 2",
        ),
        (
            operations(asked("promote", 15, 16, (1, 2))),
            "promote said that 1 took the place of 2; the history does not",
        ),
        (operations(asked("rollback", 1, 2, (1, 2)), without=0), "rollback said that 1"),
        (operations(without=2), "line 5: nobody asked for rolled back 1"),
        (
            operations(asked("ingest", 20, 22, killed=True), without=2),
            "line 5: nobody asked for rolled back 1",
        ),
        (
            replace(GOOD, versions=(*GOOD.versions, replace(version(3, 1), version=4))),
            "registered twice",
        ),
        (
            replace(GOOD, versions=(*GOOD.versions[:2], replace(version(3, 1), cursor=NAMES[1:3]))),
            "version 3 does not go on from version 2",
        ),
        (replace(GOOD, held=frozenset()), f"lost: ['{NAMES[3]}']"),
        (replace(GOOD, pending=NAMES[3:]), "in two places"),
        (replace(GOOD, held=frozenset(NAMES[2:])), "in two places"),
        (replace(GOOD, aliases={"champion": 3, "challenger": 3}), "by the tournament"),
        (
            replace(GOOD, tournament=replace(GOOD.tournament, measured=5)),
            "experience 5 gave evidence",
        ),
        (
            replace(
                GOOD,
                tournament=Tournament(
                    3, (Entrant(1, "anchor", better=Evidence(rows=9, experiences=9)),)
                ),
            ),
            "evidence of more experiences than there are",
        ),
        (
            replace(GOOD, versions=GOOD.versions[1:]),
            "version 1 takes part, and is not there",
        ),
    ],
)
def test_what_cannot_be_is_found(record: Record, what: str) -> None:
    found = list(faults(record))
    assert any(what in one for one in found), found


def test_an_order_that_time_forbids() -> None:
    """The second was asked for when the first was over, and stands before it."""
    lines = (line(0, 0, "promoted", 1, None), line(1, 12, "promoted", 2, 1),
             line(2, 10, "promoted", 3, 2))  # fmt: skip
    record = replace(
        GOOD,
        lines=lines,
        count=3,
        versions=(version(1, None), version(2, 1), version(3, 2)),
        operations=(asked("promote", 9, 11, (3, 2)), asked("promote", 11.5, 13, (2, 1))),
        before=1,
    )
    assert list(faults(record)) == ["line 1 was over when what is line 2 began"]
    beside = (asked("promote", 9, 12.5, (3, 2)), asked("promote", 11.5, 13, (2, 1)))
    assert list(faults(replace(record, operations=beside))) == []
