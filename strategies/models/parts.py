"""What several bodies are made of: checks of their parameters, and layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def whole(key: str, value: Any, low: int = 1, high: int | None = None) -> int:
    """A whole number in a range.

    Raises:
        ValueError: With the key, the value and the range.
    """
    above = high is not None and isinstance(value, int) and value > high
    if not isinstance(value, int) or isinstance(value, bool) or value < low or above:
        limits = f"from {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{key} = {value!r}: must be a whole number {limits}")
    return value


def wholes(key: str, value: Any) -> list[int]:
    """A list of widths, whole numbers from 1; it may be empty.

    Raises:
        ValueError: With the key and the value.
    """
    items: list[Any] = list(value) if isinstance(value, list | tuple) else [None]
    if not all(isinstance(i, int) and not isinstance(i, bool) and i >= 1 for i in items):
        raise ValueError(f"{key} = {value!r}: must be a list of whole numbers from 1")
    return items


def share(key: str, value: Any) -> float:
    """A share, at least 0 and below 1.

    Raises:
        ValueError: With the key, the value and the range.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0.0 <= value < 1.0:
        raise ValueError(f"{key} = {value!r}: must be at least 0 and below 1")
    return float(value)


def switch(key: str, value: Any) -> bool:
    """True or false.

    Raises:
        ValueError: With the key and the value.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{key} = {value!r}: must be true or false")
    return value


def one_of(key: str, value: Any, choices: Sequence[Any]) -> Any:
    """One of a list of values.

    Raises:
        ValueError: With the key, the value and the list.
    """
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{key} = {value!r}: must be one of {listed}")
    return value


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation in as many groups as there are, up to 32, of 8 channels or more.

    Wu and He 2018, https://arxiv.org/abs/1803.08494. It looks at one row at a time. Batch
    normalisation keeps statistics of the latest rows, and what was learned before meets
    those of another experience when it is measured (Pham, Liu and Hoi 2022,
    https://arxiv.org/abs/2203.16102). Smaller groups leave nothing of an image that has
    shrunk to one place: a value alone, less its mean, is 0.
    """
    most = max(1, min(32, channels // 8))
    return nn.GroupNorm(next(n for n in range(most, 0, -1) if channels % n == 0), channels)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that also takes a batch with one value for each channel.

    Of a single value there is no variance, and torch refuses it in training; here it is
    normalised by the running statistics, which stay as they are.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's own name)
        """Float32 (rows, channels, height, width), normalised."""
        if self.training and input.shape[0] * input.shape[2] * input.shape[3] == 1:
            return nn.functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)


class Positions(nn.Module):
    """Adds a vector that is learned to each place: (rows, places, width) to the same."""

    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(places, width))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Float32 (rows, places, width), with its place added to each."""
        return x + self.weight


def present(x: Tensor) -> Tensor:
    """Which places hold an item: (rows, length, width) to bool (rows, length)."""
    return x[:, :, -1] > 0.5


def pooled(x: Tensor, items: Tensor, scores: Tensor | None = None) -> Tensor:
    """Mean over the items: (rows, length, width) to (rows, width); of no items it is 0.

    Args:
        x: (rows, length, width).
        items: Which places count, bool (rows, length).
        scores: (rows, length); the mean is weighted by their softmax over the items.
    """
    some = items.any(dim=1, keepdim=True)
    if scores is None:
        scores = torch.zeros_like(x[:, :, 0])
    # Where nothing counts everything does, for a softmax over nothing is NaN.
    scores = scores.masked_fill(~items & some, float("-inf"))
    return (torch.softmax(scores, dim=1).unsqueeze(1) @ x).squeeze(1) * some.to(x.dtype)
