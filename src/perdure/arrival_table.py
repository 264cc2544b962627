"""What an arriving experience showed of those that might serve, as one table for every page."""

from __future__ import annotations

import math

from perdure.records import Arrival, Standing

HEADER = ("who", "version", "metric", "loss", "compared with", "better", "worse", "rows")
"""`compared with` is the loss of the version that it would replace, on the same rows; `better` and
`worse` the evidence on all experiences so far."""

NUMBERS = frozenset(HEADER[1:])
"""Columns that hold numbers."""

CAPTION = (
    "better, worse: evidence (e-value) of all experiences so far that a version is better or worse "
    "than the one it would replace; it begins at 1, and 1 / (1 - gates.confidence) decides, by "
    "default 20."
)

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


def proof(arrival: Arrival) -> str:
    """Say of a promoted version on how many rows it was better, and how sure that is."""
    for one in arrival.standings:
        if one.version == arrival.version:
            less = _less(one)
            rows = f"{one.rows:,} row{'' if one.rows == 1 else 's'}"
            return f"{less}{rows} that neither had learned, evidence {evidence(one.evidence)}"
    return ""


def evidence(value: float) -> str:
    """An e-value as people read it: `0.3`, `7.9`, `153`, `> 1,000,000`."""
    if value > 1e6 or not math.isfinite(value):
        return "> 1,000,000"
    if value >= 99.5:
        return f"{value:,.0f}"
    # 19.96 is not enough where 20 is asked, so nothing is rounded up to it.
    return "< 0.1" if value < 0.1 else f"{math.floor(value * 10) / 10:.1f}"


def markdown(arrival: Arrival) -> str:
    """The table in Markdown."""
    head = [
        f"| {' | '.join(HEADER)} |",
        "|" + "|".join("---:" if name in NUMBERS else "---" for name in HEADER) + "|",
    ]
    lines = [f"| {' | '.join(row)} |".replace("| < ", "| &lt; ").replace("| > ", "| &gt; ")
             for row in rows(arrival)]  # fmt: skip
    return "\n".join([*head, *lines])


def _row(one: Standing) -> tuple[str, ...]:
    contends = one.role == "contender"
    return (
        one.role if one.measured else f"{one.role} (had learned it)",
        str(one.version),
        _number(one.value),
        _number(one.loss),
        _number(one.incumbent_loss),
        evidence(one.evidence),
        evidence(one.against) if contends else _NONE,
        f"{one.rows:,}",
    )


def _less(one: Standing) -> str:
    if one.loss is None or one.incumbent_loss is None:
        return ""
    return f"loss {one.loss:.3f} instead of {one.incumbent_loss:.3f}, "


def _number(value: float | None) -> str:
    return _NONE if value is None or value != value else f"{value:.4f}"
