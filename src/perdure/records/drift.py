"""How far an arriving experience is from what the champion learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

Level = Literal["as ever", "drifting", "broken"]


@dataclass(frozen=True)
class ColumnDrift:
    """One column of an arriving experience, compared with the champion's training data."""

    column: str
    """Its name; of texts, images and sequences with what was measured: `body (words)`."""
    kind: str
    """`number`, `category`, `text`, `image`, `sequence` or `target`."""
    level: Level
    distance: float
    """0 to 1: Kolmogorov-Smirnov statistic of numbers, total variation of words. A missing value
    counts as a value of its own."""
    threshold: float
    """Above it the column is drifting; 1: there are too few rows or experiences to judge."""
    missing: float
    """Share of the arriving rows without a value."""
    missing_before: float
    """Share of the reference's rows without a value."""
    clamped: float | None = None
    """Share of the arriving numbers that the frozen statistics clamp; None: they do not apply."""
    unseen: float | None = None
    """Share of the arriving words that the vocabulary lacks; None: there are no words."""
    reason: str = ""
    """What differs, in words; empty where the column is as ever."""

    @property
    def ratio(self) -> float:
        """The distance in units of the threshold: above 1 is drift."""
        return self.distance / self.threshold if self.threshold > 0 else 0.0


@dataclass(frozen=True)
class Drift:
    """An arriving experience, compared with the champion's training data."""

    level: Level
    """The worst of its columns and of all columns together."""
    joint: float
    """0 to 1: root of the energy coefficient of all columns together."""
    joint_threshold: float
    rows: int
    """Rows of the arriving experience that were compared."""
    reference_rows: int
    experiences: int
    """Past experiences that the thresholds are calibrated on."""
    columns: tuple[ColumnDrift, ...]
    reasons: tuple[str, ...] = ()
    """What differs, in words, the worst first; empty where all is as ever."""

    @property
    def broken(self) -> tuple[ColumnDrift, ...]:
        """The columns that are broken."""
        return tuple(column for column in self.columns if column.level == "broken")

    @property
    def drifting(self) -> tuple[ColumnDrift, ...]:
        """The columns that are drifting, and not broken."""
        return tuple(column for column in self.columns if column.level == "drifting")

    def most_moved(self) -> list[ColumnDrift]:
        """The columns: broken ones, drifting ones, then those that moved most."""
        order = {"broken": 0, "drifting": 1, "as ever": 2}
        return sorted(self.columns, key=lambda c: (order[c.level], -c.ratio, c.column))

    def point(self, experience: str, most: int) -> DriftPoint:
        """The comparison in short, with at most so many columns."""
        kept = self.most_moved()[: max(0, most)]
        joint = self.joint / self.joint_threshold if self.joint_threshold > 0 else 0.0
        return DriftPoint(
            experience,
            self.level,
            round(joint, 4),
            {column.column: round(column.ratio, 4) for column in kept},
            tuple(column.column for column in kept if column.level == "broken"),
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Drift:
        """Read what `to_json` wrote; keys of a later version are left out.

        Raises:
            KeyError, TypeError: It is something else.
        """
        columns = tuple(ColumnDrift(**_known(ColumnDrift, c)) for c in value["columns"])
        rest = {**_known(cls, value), "columns": columns, "reasons": tuple(value["reasons"])}
        return cls(**rest)


@dataclass(frozen=True)
class DriftPoint:
    """Drift of one experience in short: what a series over experiences needs."""

    experience: str
    level: Level
    joint: float
    """All columns together: the distance in units of its threshold; above 1 is drift."""
    columns: Mapping[str, float]
    """Distance of each column; in a wide table of those that moved most."""
    broken: tuple[str, ...] = ()
    """Which of them are broken."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DriftPoint:
        """Read what `to_json` wrote; keys of a later version are left out.

        Raises:
            KeyError, TypeError: It is something else.
        """
        return cls(**{**_known(cls, value), "broken": tuple(value["broken"])})


def _known(record: type, value: Mapping[str, Any]) -> dict[str, Any]:
    return {f.name: value[f.name] for f in fields(record) if f.name in value}
