"""What an arriving experience showed of those that might serve, as one table for every page."""

from __future__ import annotations

from perdure.records import Arrival, Standing

HEADER = ("who", "version", "metric", "loss", "loss of who serves", "e better", "e worse", "rows")
"""`e` is the evidence on all experiences so far: shown at 20, where `gates.confidence` is 0.95."""

NUMBERS = frozenset(HEADER[1:])
"""Columns that hold numbers."""

_NONE = "–"


def rows(arrival: Arrival) -> list[tuple[str, ...]]:
    """A row for the champion and for each entrant, in the order of `HEADER`."""
    champion = (
        "champion",
        _NONE if arrival.champion is None else str(arrival.champion),
        _number(arrival.champion_value),
        *(_NONE for _ in HEADER[3:-1]),
        f"{arrival.rows:,}",
    )
    return [champion, *map(_row, arrival.standings)]


def outcome(arrival: Arrival) -> str:
    """What followed, in some words."""
    return {
        "none": "nothing is moved",
        "promoted": f"version {arrival.version}, a contender, is better: it takes the place",
        "rolled back": f"version {arrival.version} is better: the model goes back to it",
        "held": "the experience is broken: it is held, and is no evidence",
    }[arrival.action]


def markdown(arrival: Arrival) -> str:
    """The table in Markdown."""
    head = [
        f"| {' | '.join(HEADER)} |",
        "|" + "|".join("---:" if name in NUMBERS else "---" for name in HEADER) + "|",
    ]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows(arrival))])


def _row(one: Standing) -> tuple[str, ...]:
    contends = one.role == "contender"
    return (
        one.role if one.measured else f"{one.role} (had learned it)",
        str(one.version),
        _number(one.value),
        _number(one.loss),
        _number(one.incumbent_loss),
        f"{one.evidence:.3g}",
        f"{one.against:.3g}" if contends else _NONE,
        f"{one.rows:,}",
    )


def _number(value: float | None) -> str:
    return _NONE if value is None or value != value else f"{value:.4f}"
