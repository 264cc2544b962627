"""Features: which columns, which vocabulary, and raw columns as one tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from perdure.config import Task
from perdure.errors import DataRefused

Array = npt.NDArray[Any]
Columns = Mapping[str, Array]
"""Column name to values, all of one length. Numbers are floats with NaN for missing;
categories are strings with None or NaN for missing."""

MISSING, UNSEEN, FIRST = 0, 1, 2
"""Codes of a category column: no value, a value that the vocabulary lacks, its first entry."""


@dataclass(frozen=True)
class Column:
    """One feature: a number, or one of a fixed list of categories."""

    name: str
    kind: Literal["number", "category"]
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class FeatureSpec:
    """The features in their order, the target, and the vocabulary of each."""

    columns: tuple[Column, ...]
    target: str
    task: Task
    labels: tuple[str | int | bool, ...] = ()
    """Of a classification, in the order of the network's outputs."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """Positions of the number columns."""
        return tuple(i for i, c in enumerate(self.columns) if c.kind == "number")

    @property
    def categories(self) -> tuple[int, ...]:
        """Positions of the category columns."""
        return tuple(i for i, c in enumerate(self.columns) if c.kind == "category")

    @property
    def outputs(self) -> int:
        """Outputs of the network: one per label, or one value."""
        return len(self.labels) if self.task == "classification" else 1

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back."""
        return {
            "columns": [
                {"name": c.name, "kind": c.kind, "categories": list(c.categories)}
                for c in self.columns
            ],
            "target": self.target,
            "task": self.task,
            "labels": list(self.labels),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FeatureSpec:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError: It is something else.
        """
        columns = tuple(
            Column(str(c["name"]), c["kind"], tuple(c["categories"])) for c in value["columns"]
        )
        return cls(columns, str(value["target"]), value["task"], tuple(value["labels"]))


def encode(spec: FeatureSpec, columns: Columns) -> Tensor:
    """Raw columns as one tensor.

    Returns:
        float64 (rows, columns): numbers as they are, NaN for missing; categories as their
        code: 0 missing, 1 unseen, 2 and up the place in the vocabulary.

    Raises:
        DataRefused: A column is missing, or a number column holds something else.
    """
    lacking = [column.name for column in spec.columns if column.name not in columns]
    if lacking:
        raise DataRefused(
            f"missing column{'s' if len(lacking) > 1 else ''}: {', '.join(lacking)}",
            hint=f"the model needs {', '.join(column.name for column in spec.columns)}",
        )
    encoded = [_encode_column(column, columns[column.name]) for column in spec.columns]
    if len({len(values) for values in encoded}) > 1:
        both = zip(spec.columns, encoded, strict=True)
        lengths = ", ".join(f"{column.name} {len(values)}" for column, values in both)
        raise DataRefused(f"columns of different lengths: {lengths}")
    return torch.from_numpy(np.stack(encoded, axis=1))


def _encode_column(column: Column, values: Array) -> npt.NDArray[np.float64]:
    if column.kind == "number":
        try:
            return np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataRefused(f"column {column.name} is not all numbers: {error}") from error
    codes = {value: code for code, value in enumerate(column.categories, FIRST)}
    items = np.asarray(values, dtype=object).tolist()
    coded = [MISSING if _absent(item) else codes.get(item, UNSEEN) for item in items]
    return np.asarray(coded, dtype=np.float64)


def _absent(value: Any) -> bool:
    # NaN, NaT and None; pandas' NA has no truth value, so it is told by its type's name.
    return value is None or type(value).__name__ == "NAType" or (value != value) is True


def encode_target(spec: FeatureSpec, values: Array) -> Tensor:
    """The target as training wants it.

    Returns:
        Classification: int64 (rows,), the place in `spec.labels`. Regression: float64 (rows,).

    Raises:
        DataRefused: A label is unknown, or a value is missing or not finite.
    """
    if spec.task == "regression":
        try:
            numbers = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataRefused(f"target {spec.target} is not all numbers: {error}") from error
        if not np.isfinite(numbers).all():
            row = int(np.flatnonzero(~np.isfinite(numbers))[0])
            raise DataRefused(f"target {spec.target} is {numbers[row]} in row {row}")
        return torch.from_numpy(numbers.copy())
    codes: dict[Any, int] = {label: code for code, label in enumerate(spec.labels)}
    items = np.asarray(values).tolist()
    coded = [codes.get(item, -1) for item in items]
    if -1 in coded:
        row = coded.index(-1)
        known = ", ".join(repr(label) for label in spec.labels)
        raise DataRefused(
            f"target {spec.target} = {items[row]!r} in row {row} is no label; known: {known}"
        )
    return torch.tensor(coded, dtype=torch.int64)
