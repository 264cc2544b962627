"""Drift as one table, alike on the terminal, on Prefect's page and in MLflow's description."""

from __future__ import annotations

from perdure import escaping
from perdure.records import ColumnDrift, Drift

HEADER = ("column", "level", "distance", "limit", "missing", "clamped", "unseen", "what differs")
"""`clamped` and `unseen` are shares of the arriving values; a dash where they do not apply."""
NUMBERS = frozenset(HEADER[2:7])
"""Columns that hold numbers."""
ALL = "all together"
"""The row of all columns together."""
MOST = 12
"""Columns that are shown, by default."""

_NONE = "–"


def shown(drift: Drift, most: int = MOST) -> list[ColumnDrift]:
    """The columns that matter most: broken, drifting, then those that moved most.

    Args:
        drift: The comparison of one experience.
        most: How many, at most.
    """
    return drift.most_moved()[: max(0, most)]


def rows(drift: Drift, most: int = MOST) -> list[tuple[str, ...]]:
    """A row for each column shown, in the order of `HEADER`, and one for all together."""
    level = "drifting" if drift.joint > drift.joint_threshold else "as ever"
    joint = (f"{drift.joint:.2f}", f"{drift.joint_threshold:.2f}")
    return [
        *map(_row, shown(drift, most)),
        (ALL, level, *joint, _NONE, _NONE, _NONE, ""),
    ]


def _row(one: ColumnDrift) -> tuple[str, ...]:
    return (
        one.column,
        one.level,
        f"{one.distance:.2f}",
        f"{one.threshold:.2f}",
        _share(one.missing),
        _share(one.clamped),
        _share(one.unseen),
        one.reason,
    )


def _share(value: float | None) -> str:
    """A share in per cent; what is there is never shown as nothing."""
    if value is None:
        return _NONE
    return "<0.1%" if 0 < value < 0.0005 else f"{value:.1%}"


def summary(drift: Drift) -> str:
    """The comparison in some words, such as `drifting: wind, rain and 2 more`."""
    if drift.level == "as ever":
        return drift.level
    worst = drift.broken or drift.drifting
    names = [one.column for one in shown(drift, len(drift.columns)) if one in worst]
    if not names:
        return f"{drift.level}: all columns together"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{drift.level}: {', '.join(names[:3])}{more}"


def markdown(drift: Drift, most: int = MOST) -> str:
    """The table in Markdown, and how many columns it leaves out."""
    head = [
        f"| {' | '.join(HEADER)} |",
        "|" + "|".join("---:" if name in NUMBERS else "---" for name in HEADER) + "|",
    ]
    lines = [f"| {' | '.join(map(escaping.markdown, row))} |" for row in rows(drift, most)]
    left = len(drift.columns) - len(shown(drift, most))
    note = [] if not left else ["", f"… and {left} more column{'' if left == 1 else 's'}"]
    return "\n".join([*head, *lines, *note])
