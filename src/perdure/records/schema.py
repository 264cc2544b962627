"""What a schema says, and how a file differs from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

What = Literal[
    "new column",
    "missing column",
    "new class",
    "new words",
    "missing values",
    "outside limits",
    "wrong type",
]


@dataclass(frozen=True)
class Difference:
    """One thing that a file has and the schema does not, or the other way round."""

    what: What
    column: str
    rows: int
    """Rows of the file that it concerns; of a new column, those with a value."""
    kind: str | None = None
    """Kind of the column, as inferred for a new one; of `outside limits`, the limits."""
    values: tuple[str, ...] = ()
    """Some values, the most frequent first; of a new class its name; of numbers outside limits the
    least and the greatest."""
    taken: bool | None = None
    """Whether it was taken into the schema; None: not asked for."""
    note: str | None = None
    """Why not, or in which form; of a new class also what it resembles."""


@dataclass(frozen=True)
class SchemaColumn:
    """One column, as the schema has it."""

    name: str
    kind: str
    nullable: bool
    rule: str | None
    """What else is asked of a value, in words; None: nothing."""


@dataclass(frozen=True)
class SchemaReport:
    """A schema, and what was found or changed."""

    path: str
    target: str
    task: str
    classes: tuple[str, ...]
    """Empty of a regression."""
    new_classes: str | None
    min_class_rows: int | None
    extra_columns: str
    columns: tuple[SchemaColumn, ...]
    inferred: tuple[str, ...] = ()
    """Limits that an older version inferred from the first file, each in words."""
    file: str | None = None
    """What it was compared with."""
    differences: tuple[Difference, ...] = ()
    diff: str = ""
    """Diff of the schema file, against the last commit; empty: it was not changed."""
