"""In which form numbers and times are written in a column."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ISO = "iso"
"""A date, or a date and a time, as ISO 8601 writes them: `2026-11-28`, `2026-11-28 18:05`,
`2026-11-28T18:05:00+01:00`."""
UNIX = "unix"
"""Seconds since 1970, UTC."""
CYCLES = {"year": 365.2425 * 86_400.0, "week": 7 * 86_400.0, "day": 86_400.0}
"""What repeats itself in time, and after how many seconds."""
ELAPSED = "elapsed"
"""The time itself, from the first experience's mean on."""
SEEN = (ELAPSED, *CYCLES)
"""What a model can see of a time."""


@dataclass(frozen=True)
class NumberFormat:
    """How numbers are written in the text of a column; a number with a type needs none."""

    decimal: str = "."
    """The decimal mark: `.` or `,`."""
    grouping: str = ""
    """Between groups of three digits: `,`, `.`, `'` or a space; empty: nothing."""
    unit: str = ""
    """Text before or after the number, such as `%`, `€` or `kg`; empty: none."""
    missing: tuple[str, ...] = ()
    """What stands for a missing number, such as `?`, beside an empty field, `NA` and the like."""

    def to_json(self) -> dict[str, Any]:
        """What differs from the usual format, as plain JSON values."""
        usual = NumberFormat()
        value: dict[str, Any] = {
            name: found
            for name in ("decimal", "grouping", "unit")
            if (found := getattr(self, name)) != getattr(usual, name)
        }
        return {**value, "missing": list(self.missing)} if self.missing else value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> NumberFormat:
        """Read what `to_json` wrote."""
        missing = tuple(map(str, value.get("missing", ())))
        texts = {k: str(value[k]) for k in ("decimal", "grouping", "unit") if k in value}
        return cls(**texts, missing=missing)

    @property
    def pattern(self) -> str:
        """An RE2 pattern of a whole number in this format, without spaces around it.

        Its groups are the sign before the unit, the sign after it, and the digits.
        """
        mark, group = re.escape(self.decimal), re.escape(self.grouping)
        whole = rf"\d{{1,3}}(?:{group}\d{{3}})+|\d+" if self.grouping else r"\d+"
        digits = rf"(?:(?:{whole})(?:{mark}\d*)?|{mark}\d+)(?:[eE][+-]?\d+)?"
        unit = re.escape(self.unit).replace(r"\ ", " ")
        before, after = (rf"(?:{unit}\s*)?", rf"(?:\s*{unit})?") if unit else ("", "")
        return rf"^([+-]?)\s*{before}([+-]?)({digits}){after}$"

    @property
    def words(self) -> str:
        """In words, of what is not usual: `decimal comma, unit %`; empty: nothing."""
        marks = {",": "decimal comma"}
        groups = {",": "commas", ".": "points", "'": "apostrophes", " ": "spaces"}
        parts = [marks[self.decimal]] if self.decimal in marks else []
        if self.grouping:
            parts.append(f"thousands with {groups.get(self.grouping, self.grouping)}")
        if self.unit:
            parts.append(f"in {self.unit}")
        if self.missing:
            parts.append(f"missing where {' or '.join(map(repr, self.missing))}")
        return ", ".join(parts)


PLAIN = NumberFormat()


@dataclass(frozen=True)
class TimeFormat:
    """How times are written, and in which zone they are looked at."""

    format: str = ISO
    """`iso`, `unix`, or as Python's `strptime` has it, such as `%d.%m.%Y`."""
    zone: str = "UTC"
    """A name of the IANA database. A time without an offset is taken to be of this zone; one with
    an offset is converted to it."""

    @property
    def words(self) -> str:
        """In words what a value must be."""
        if self.format == ISO:
            return "a date or a time such as 2026-11-28 or 2026-11-28 18:05"
        if self.format == UNIX:
            return "a number of seconds since 1970"
        return f"a date or a time written {self.format}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back."""
        return {"format": self.format, "zone": self.zone}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TimeFormat:
        """Read what `to_json` wrote."""
        return cls(str(value["format"]), str(value["zone"]))


ISO_UTC = TimeFormat()
