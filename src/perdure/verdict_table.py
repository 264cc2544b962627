"""A verdict as one table, alike on the terminal, on Prefect's page and on MLflow's."""

from __future__ import annotations

import math

from perdure import escaping
from perdure.records import Reason, Verdict

HEADER = ("gate", "answer", "value", "champion", "difference", "limit", "rows", "shows")
"""`difference` has its one-sided bounds; `shows` is the smallest loss that so many rows show."""

NUMBERS = frozenset(HEADER[2:])
"""Columns that hold numbers."""

_NONE = "–"


def rows(verdict: Verdict) -> list[tuple[str, ...]]:
    """A row for each gate, in the order of `HEADER`."""
    return [_row(reason) for reason in verdict.reasons]


def summary(verdict: Verdict) -> str:
    """The verdict in some words."""
    if verdict.answer != "undecided":
        return verdict.answer
    return {
        "pass": "undecided, let through",
        "hold": "undecided, held",
        "wait": "undecided, held and tried on what comes",
    }[verdict.undecided]


def markdown(verdict: Verdict, limit: int | None = None) -> str:
    """The table in Markdown.

    Args:
        verdict: The verdict.
        limit: The most characters; of a longer table the gates that refused, then those that are
            undecided, then the others are kept, in whole rows, and the last line says how many
            were left out.
    """
    head = [
        f"| {' | '.join(HEADER)} |",
        "|" + "|".join("---:" if name in NUMBERS else "---" for name in HEADER) + "|",
    ]
    lines = [f"| {' | '.join(map(escaping.markdown, row))} |" for row in rows(verdict)]
    if limit is None or len("\n".join(head + lines)) <= limit:
        return "\n".join(head + lines)
    order = ("refused", "undecided", "passed")
    ranked = sorted(range(len(lines)), key=lambda i: order.index(verdict.reasons[i].answer))
    note = "\n\n… and {} more gates"
    left = limit - len("\n".join(head)) - len(note.format(len(lines)))
    kept = []
    for place in ranked:
        left -= len(lines[place]) + 1
        if left < 0:
            break
        kept.append(place)
    shown = "\n".join([*head, *(lines[place] for place in sorted(kept))])
    return shown + note.format(len(lines) - len(kept))


def _row(reason: Reason) -> tuple[str, ...]:
    answer: str = "reported" if reason.limit is None and reason.passed else reason.answer
    difference = _signed(reason.difference)
    if reason.low is not None and reason.high is not None:
        difference += f" ({_signed(reason.low)} to {_signed(reason.high)})"
    return (
        reason.gate,
        answer,
        f"{_number(reason.value)} {reason.metric}",
        _number(reason.champion),
        difference,
        _number(reason.limit),
        _NONE if reason.rows is None else f"{reason.rows:,.0f}",
        _number(reason.detectable),
    )


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return _NONE
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"  # a count, or a number


def _signed(value: float | None) -> str:
    return _NONE if value is None or math.isnan(value) else f"{value:+.4f}"
