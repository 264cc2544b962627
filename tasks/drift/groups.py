"""Which rows are compared, and the past groups that thresholds are calibrated on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_GROUPS = 100
"""The latest so many experiences calibrate; the cost does not grow with the number of them."""
ENOUGH = 8
"""With fewer past experiences, contiguous chunks of them are compared instead."""
CHUNKS = 10
LEAST_ROWS = 5
"""A group of fewer rows calibrates nothing."""
LEAST_CHUNK = 15


@dataclass(frozen=True)
class Groups:
    """Past groups of rows."""

    of_row: NDArray[np.int64]
    """(reference rows,): the group, -1 for none."""
    count: int
    experiences: int
    """Number of experiences."""
    chunks: bool
    """Whether they are parts of experiences, not whole ones."""


def grouped(owner: NDArray[Any]) -> Groups:
    """Past experiences, the latest `MOST_GROUPS`; or contiguous chunks of them, if few.

    Args:
        owner: (reference rows,): the experience of each row, in the order of learning.
    """
    names, first, counts = _appearing(owner)
    usable = [i for i in range(len(names)) if counts[i] >= LEAST_ROWS][-MOST_GROUPS:]
    of_row = np.full(len(owner), -1, dtype=np.int64)
    if len(usable) >= ENOUGH:
        for group, i in enumerate(usable):
            of_row[first == i] = group
        return Groups(of_row, len(usable), len(usable), False)
    count = 0
    for i in usable:
        rows = np.flatnonzero(first == i)
        parts = max(1, min(-(-CHUNKS // len(usable)), len(rows) // LEAST_CHUNK))
        for part in np.array_split(rows, parts):
            of_row[part] = count
            count += 1
    return Groups(of_row, count, len(usable), True)


def _appearing(owner: NDArray[Any]) -> tuple[list[Any], NDArray[np.int64], NDArray[np.int64]]:
    """The names in the order of appearance, each row's place in it, and the rows of each."""
    places: dict[Any, int] = {}
    row = np.array([places.setdefault(name, len(places)) for name in owner], dtype=np.int64)
    return list(places), row, np.bincount(row, minlength=len(places))


def order_of(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows in a pseudo-random order that depends on their content and not on where they stand.

    Equal rows are numbered, so that many equal rows are as likely to come first as others.

    Args:
        codes: (rows, columns).

    Returns:
        (rows,): positions; a part of the first of them is a sample.
    """
    mixed = np.zeros(len(codes), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for column in codes.T:
            mixed = _mix(mixed ^ _mix(column.astype(np.uint64)))
        by_content = np.argsort(mixed, kind="stable")
        ranked = mixed[by_content]
        starts = np.r_[True, ranked[1:] != ranked[:-1]] if len(ranked) else np.zeros(0, bool)
        run = np.arange(len(ranked)) - np.maximum.accumulate(
            np.where(starts, np.arange(len(ranked)), 0)
        )
        numbered = np.empty_like(mixed)
        numbered[by_content] = _mix(ranked + _mix(run.astype(np.uint64)))
    return np.lexsort((mixed, numbered)).astype(np.int64)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64: every bit of the input moves every bit of the output."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
