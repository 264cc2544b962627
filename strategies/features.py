"""From raw columns to what a network sees, as torch modules that belong to the learner.

The statistics are those of the first experience's training rows and never change: what is
registered takes raw columns and cannot be skewed against training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from perdure.config import Task
from perdure.errors import DataRefused

Array = npt.NDArray[Any]
Columns = Mapping[str, Array]
"""Column name to values, all of one length. Numbers are floats with NaN for missing;
categories are strings with None or NaN for missing."""

MISSING, UNSEEN, FIRST = 0, 1, 2
"""Codes of a category column: no value, a value that the vocabulary lacks, its first entry."""

LIMIT = 10.0
"""Standardised numbers are clamped to ± this many standard deviations."""


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


def statistics(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation (divided by n) of the finite values.

    A scale that is zero, or too small against the mean to mean anything, is 1: a constant
    column becomes 0. Nothing finite gives mean 0 and scale 1.
    """
    finite = values[np.isfinite(values)]
    largest = float(np.abs(finite).max(initial=0.0))
    if largest == 0.0:
        return 0.0, 1.0
    small = finite / largest  # so that neither sum nor square overflows
    mean, scale = float(small.mean()), float(small.std())
    if scale <= 1e-12:
        return mean * largest, 1.0
    return mean * largest, scale * largest


class Prepare(nn.Module):
    """Standardise numbers, mark what is missing, pass category codes on.

    For a number column x with mean m and standard deviation s of the first experience:

        z = clamp((x - m) / s, -10, 10), and 0 where x is missing
        missing = 1 where x is missing, else 0

    Input: float64 (rows, columns) of `encode`. Output: float32 (rows, width): all z, then
    all missing marks, then all category codes.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(len(spec.numbers), dtype=torch.float64))
        self.register_buffer("scale", torch.ones(len(spec.numbers), dtype=torch.float64))
        # Plain lists: they follow from the FeatureSpec and are no statistics.
        self._numbers = list(spec.numbers)
        self._categories = list(spec.categories)

    def fit(self, raw: Tensor) -> None:
        """Take mean and scale from training rows, float64 (rows, columns)."""
        for place, position in enumerate(self._numbers):
            mean, scale = statistics(raw[:, position].numpy())
            self.mean[place], self.scale[place] = mean, scale

    def forward(self, raw: Tensor) -> Tensor:
        """Float64 (rows, columns) to float32 (rows, width)."""
        numbers, codes = raw[:, self._numbers], raw[:, self._categories]
        missing = torch.isnan(numbers)
        z = ((numbers - self.mean) / self.scale).clamp(-LIMIT, LIMIT)
        z = torch.where(missing, torch.zeros_like(z), z)
        return torch.cat([z, missing.to(z.dtype), codes], dim=1).to(torch.float32)


def embedding_width(categories: int) -> int:
    """Numbers that stand for a category: half its vocabulary, 1 to 16."""
    return min(16, (categories + 1) // 2 + 1)


class Network(nn.Module):
    """What is trained: a vector for each category, then the body.

    A missing category has a vector of its own; an unseen one is a fixed zero vector, for
    nothing can be known of it. Input: float32 (rows, width) of `Prepare`. Output: float32
    (rows, outputs), logits or the standardised value.
    """

    def __init__(self, spec: FeatureSpec, body: nn.Module) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(
            nn.Embedding(
                FIRST + len(spec.columns[i].categories),
                embedding_width(len(spec.columns[i].categories)),
                padding_idx=UNSEEN,
            )
            for i in spec.categories
        )
        self.body = body
        self._plain = 2 * len(spec.numbers)

    @staticmethod
    def inputs(spec: FeatureSpec) -> int:
        """Inputs of the body: two per number column, and the width of each embedding."""
        widths = (embedding_width(len(spec.columns[i].categories)) for i in spec.categories)
        return 2 * len(spec.numbers) + sum(widths)

    def forward(self, prepared: Tensor) -> Tensor:
        """Float32 (rows, width) to float32 (rows, outputs)."""
        if not len(self.embeddings):
            return cast(Tensor, self.body(prepared))
        parts = [prepared[:, : self._plain]]
        for place, embedding in enumerate(self.embeddings):
            parts.append(embedding(prepared[:, self._plain + place].to(torch.int64)))
        return cast(Tensor, self.body(torch.cat(parts, dim=1)))


class Output(nn.Module):
    """From the network's outputs to what a user reads.

    Classification: softmax, float32 (rows, labels). Regression: y = m + s·f with the mean
    and standard deviation of the first experience's training targets, float64 (rows,).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._classifies = task == "classification"
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))

    def fit(self, target: Tensor) -> None:
        """Take mean and scale from training targets, float64 (rows,); regression only."""
        mean, scale = statistics(target.numpy())
        self.mean.fill_(mean)
        self.scale.fill_(scale)

    def standardise(self, target: Tensor) -> Tensor:
        """Training targets: int64 (rows,) unchanged, or float64 (rows,) to float32 (rows, 1)."""
        if self._classifies:
            return target
        return ((target - self.mean) / self.scale).to(torch.float32).unsqueeze(1)

    def forward(self, outputs: Tensor) -> Tensor:
        """Float32 (rows, outputs) to probabilities or values."""
        if self._classifies:
            return torch.softmax(outputs, dim=1)
        return outputs[:, 0].to(torch.float64) * self.scale + self.mean
