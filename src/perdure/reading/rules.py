"""What is refused of a column's values, and in which words: the same at ingest and when served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perdure.reading import values

NOT_A_NUMBER = "is not a number"
MISSING = "is missing"
LONGEST = 60
"""Characters of a value that are shown."""


@dataclass(frozen=True)
class Rules:
    """What is asked of a value, beside that it is of its column's kind."""

    nullable: bool = True
    min: float | None = None
    max: float | None = None
    words: tuple[str, ...] = ()
    """A category is one of these; empty: any word is let through."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back."""
        return {
            "nullable": self.nullable,
            "min": self.min,
            "max": self.max,
            "words": list(self.words),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Rules:
        """Read what `to_json` wrote."""
        return cls(
            bool(value["nullable"]), value["min"], value["max"], tuple(map(str, value["words"]))
        )


def broken(
    canonical: NDArray[Any], wrong: values.Mask, rules: Rules
) -> Iterator[tuple[values.Mask, str]]:
    """The rules that values break, each with the rows, (rows,), that break it and no earlier one.

    Args:
        canonical: (rows,) of float64, or of objects; NaN or None where there is no value.
        wrong: Where a value is not of its column's kind: no rule is tried on it.
        rules: The rules.
    """
    done = wrong.copy()
    for fails, what in _failing(canonical, rules):
        new = fails & ~done
        if new.any():
            done |= new
            yield new, what


def _failing(canonical: NDArray[Any], rules: Rules) -> Iterator[tuple[values.Mask, str]]:
    if canonical.dtype.kind == "f":
        if not rules.nullable:
            yield np.isnan(canonical), MISSING
        yield np.isinf(canonical), "is not finite"
        if rules.min is not None:
            yield canonical < rules.min, f"is below the minimum {rules.min:g}"
        if rules.max is not None:
            yield canonical > rules.max, f"is above the maximum {rules.max:g}"
        return
    if not rules.nullable:
        yield np.array([value is None for value in canonical], dtype=bool), MISSING
    if rules.words:
        known = frozenset(rules.words)
        strange = [value is not None and value not in known for value in canonical]
        yield np.array(strange, dtype=bool), f"is not one of {listed(rules.words)}"


def sentence(name: str, text: str | None, what: str, *, numeric: bool) -> str:
    """`temp = 'much' is not a number`, `temp = -5 is below the minimum 0`, `temp is missing`."""
    if what == MISSING:
        return f"{name} {what}"
    plain = numeric and text is not None and values.is_number(text)
    return f"{name} = {shown(text, plain=plain)} {what}"


def listed(words: Sequence[Any], most: int = 8) -> str:
    """The first words, and how many there are."""
    some = ", ".join(repr(word) for word in words[:most])
    return some + (f" … ({len(words)} in all)" if len(words) > most else "")


def shown(text: str | None, *, plain: bool = False) -> str:
    """A value in a message: in quotes, unless it is plain, and cut where it is long."""
    text = "" if text is None else text
    cut = text if len(text) <= LONGEST else text[:LONGEST] + "…"
    return cut if plain else repr(cut)
