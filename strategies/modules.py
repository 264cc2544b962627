"""From raw columns to predictions, as torch modules that belong to the learner.

The statistics are those of the first experience's training rows and never change: what is
registered takes raw columns and cannot be skewed against training.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from perdure.config import Task
from perdure.strategies.columns import FIRST, UNSEEN, FeatureSpec

LIMIT = 10.0
"""Standardised numbers are clamped to ± this many standard deviations."""


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
