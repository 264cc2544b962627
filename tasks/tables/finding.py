"""Which rows of a table somebody asks for: by a condition, or as equal to the rows of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perdure import expressions
from perdure.errors import DataRefused, UsageError
from perdure.tasks.tables import content
from perdure.tasks.tables.content import Keys
from perdure.tasks.tables.definition import Schema
from perdure.tasks.tables.rules import canonical

if TYPE_CHECKING:
    import pandas as pd

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Wanted:
    """The rows that are asked for."""

    columns: tuple[str, ...]
    """The columns that it is about."""
    condition: expressions.Condition | None = None
    keys: Keys | None = None
    """uint64 (rows,): of the rows of a file, by its columns."""

    def rows(self, frame: pd.DataFrame) -> Mask:
        """Which rows are asked for, (rows,).

        Args:
            frame: As `check` gives it, or `typed`.

        Raises:
            DataRefused: It lacks a column, or its values do not suit the condition.
        """
        if self.condition is not None:
            try:
                return self.condition.rows(frame)
            except ValueError as error:
                raise DataRefused(f"{self.condition.text}: {error}") from error
        assert self.keys is not None
        return np.isin(content.row_keys(frame, self.columns), self.keys)


def by_condition(text: str, schema: Schema) -> Wanted:
    """The rows that fulfil a condition, as a slice of `[[gates.slices]]` has it.

    Raises:
        UsageError: It is no condition, or names a column that the schema does not have.
    """
    try:
        condition = expressions.parse(text)
    except ValueError as error:
        raise UsageError(f"{text!r}: {error}", hint="such as: customer == 'K-1017'") from error
    _known(condition.columns, schema)
    return Wanted(condition.columns, condition=condition)


def by_rows(given: pd.DataFrame, schema: Schema) -> Wanted:
    """The rows that are equal to one of those given, in all columns that these have.

    Args:
        given: A table with some columns of the schema, as `read` gives it.
        schema: The workspace's.

    Raises:
        UsageError: It has no row, or a column that the schema does not have.
    """
    names = tuple(map(str, given.columns))
    _known(names, schema)
    if not len(given):
        raise UsageError("the file of rows has none")
    return Wanted(names, keys=content.row_keys(typed(given, schema, names), names))


def typed(frame: pd.DataFrame, schema: Schema, names: Sequence[str]) -> pd.DataFrame:
    """Columns in their canonical types; a value of another type becomes missing.

    Args:
        frame: As it stands in a file; columns may lack.
        schema: What the columns are.
        names: Which columns.
    """
    import pandas as pd

    kinds: dict[str, Any] = {**schema.columns, schema.target.name: schema.target}
    there = [name for name in names if name in frame.columns]
    return pd.DataFrame({name: canonical(frame[name], kinds[name])[0] for name in there})


def _known(names: Sequence[str], schema: Schema) -> None:
    if unknown := [name for name in names if name not in schema.names]:
        raise UsageError(
            f"the schema has no column {unknown[0]!r}; it has {', '.join(schema.names)}"
        )
