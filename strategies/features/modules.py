"""From raw columns to predictions, as torch modules that belong to the learner.

The statistics are those of the first experience's training rows, or of the first in which a
column varies, and never change: what is registered takes raw columns and cannot be skewed against
training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from perdure.config import Task
from perdure.reading.formats import CYCLES, ELAPSED
from perdure.strategies.features.columns import FIRST, UNSEEN, Column, FeatureSpec
from perdure.strategies.features.items import PADDING

Inputs = int | tuple[int, ...]
"""What a body gets of a row: a width, or a shape."""
AT_ONCE = 2**22
"""Input values of images, texts or sequences that go through a network at once."""
PREPARED = 2**18
"""Values that are standardised at a time."""
LIMIT = 10.0
"""Standardised numbers are clamped to ± this many standard deviations."""
CONSTANT, MISSING = math.inf, -math.inf
"""Scale of a column of a table that had only one value so far, or none: it becomes 0."""


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


def _varies(values: npt.NDArray[np.float64], centre: float) -> bool:
    """Whether finite values differ from a centre by more than rounding."""
    finite = values[np.isfinite(values)]
    largest = float(np.abs(finite).max(initial=0.0))
    return bool((np.abs(finite - centre) > 1e-12 * largest).any())


def prepared(prepare: Prepare, raw: Tensor) -> Tensor:
    """`prepare(raw)`, in parts that stay in the processor's cache; the result is the same."""
    found: Tensor | None = None
    at_once = max(1, PREPARED // max(1, raw[:1].numel()))
    for start in range(0, max(1, len(raw)), at_once):
        part = prepare(raw[start : start + at_once])
        if found is None:
            found = part.new_empty((len(raw), *part.shape[1:]))
        found[start : start + at_once] = part
    assert found is not None
    return found


class Prepare(nn.Module):
    """What is learned from: standardised, with marks of what is missing; small where it can be.

    For a number x with mean m and standard deviation s of the first experience:

        z = clamp((x - m) / s, -10, 10), and 0 where x is missing
        missing = 1 where x is missing, else 0

    A column of a table that is constant in the first experience becomes 0, and waits: the first
    experience in which it varies gives its scale, the root mean square of x - m. Its mean stays,
    so a row that was learned before, and is kept in a memory, still means the same.

    Of a time t, in seconds: asinh((t - m) / s) as the time that has passed, which goes on to grow,
    but slowly; and the sine and cosine of 2πt / T for each cycle (year, week, day) of T seconds.

    Table: float64 (rows, columns) of `encode` to float32 (rows, width): all z, then what is seen
    of times, then all missing marks, then all category codes. Sequence: float64 (rows, length) to
    float32 (rows, length, 2): z, with one m and s for all places, then 1 - missing. Images (uint8)
    and texts (int32) are passed on: the network takes them as they are.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        # Plain values: they follow from the FeatureSpec and are no statistics.
        self._kind = spec.kind
        self._numbers = list(spec.numbers)
        self._times = list(spec.times)
        self._sees = [spec.columns[i].sees for i in spec.times]
        self._categories = list(spec.categories)
        size = 1 if spec.kind == "sequence" else len(self._numbers) + len(self._times)
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(size, dtype=torch.float64))

    def fit(self, raw: Tensor) -> None:
        """Take mean and scale from training rows, as `encode` gives them."""
        if self._kind == "sequence":
            self.mean[0], self.scale[0] = statistics(raw.numpy())
        for place, position in enumerate([*self._numbers, *self._times]):
            mean, scale = statistics(raw[:, position].numpy())
            if _varies(raw[:, position].numpy(), mean):
                self.mean[place], self.scale[place] = mean, scale
            else:
                seen = bool(torch.isfinite(raw[:, position]).any())
                self.mean[place], self.scale[place] = mean, CONSTANT if seen else MISSING

    def fit_constant(self, raw: Tensor) -> None:
        """Take the scale of the columns that were constant so far from rows in which they vary.

        Args:
            raw: Training rows of a later experience, as `encode` gives them.
        """
        if self._kind == "sequence":
            return
        for place, position in enumerate([*self._numbers, *self._times]):
            before, values = float(self.scale[place]), raw[:, position].numpy()
            mean, scale = statistics(values)
            if before == MISSING and _varies(values, mean):
                self.mean[place], self.scale[place] = mean, scale
            elif before == MISSING and np.isfinite(values).any():
                self.mean[place], self.scale[place] = mean, CONSTANT
            elif before == CONSTANT and _varies(values, float(self.mean[place])):
                away = values[np.isfinite(values)] - float(self.mean[place])
                largest = float(np.abs(away).max())
                self.scale[place] = largest * float(np.sqrt(np.square(away / largest).mean()))

    def forward(self, raw: Tensor) -> Tensor:
        """Rows of `encode` to what is kept in memory and learned from."""
        if self._kind in ("image", "text"):
            return raw
        numbers = raw if self._kind == "sequence" else raw[:, self._numbers]
        mean, scale = self.mean, self.scale
        if self._times:
            mean, scale = mean[: len(self._numbers)], scale[: len(self._numbers)]
        missing = torch.isnan(numbers)
        z = ((numbers - mean) / scale).clamp(-LIMIT, LIMIT)
        z = torch.where(missing | torch.isinf(scale), torch.zeros_like(z), z)
        if self._kind == "sequence":
            return torch.stack([z, (~missing).to(z.dtype)], dim=2).to(torch.float32)
        codes = raw[:, self._categories]
        if not self._times:
            return torch.cat([z, missing.to(z.dtype), codes], dim=1).to(torch.float32)
        times = raw[:, self._times]
        gone = torch.isnan(times)
        seen = self._of_times(torch.where(gone, torch.zeros_like(times), times), gone)
        marks = [missing.to(z.dtype), gone.to(z.dtype)]
        return torch.cat([z, *seen, *marks, codes], dim=1).to(torch.float32)

    def _of_times(self, times: Tensor, gone: Tensor) -> list[Tensor]:
        """What is seen of times, each (rows, 1); 0 where there is none."""
        found = []
        for place, sees in enumerate(self._sees):
            at, none = times[:, place : place + 1], gone[:, place : place + 1]
            for what in sees:
                if what == ELAPSED:
                    column = len(self._numbers) + place
                    away = torch.asinh((at - self.mean[column]) / self.scale[column])
                    absent = none | torch.isinf(self.scale[column])
                    found.append(torch.where(absent, torch.zeros_like(away), away))
                    continue
                turn = at * (2.0 * math.pi / CYCLES[what])
                waves = (torch.sin(turn), torch.cos(turn))
                found += [torch.where(none, torch.zeros_like(wave), wave) for wave in waves]
        return found


def embedding_width(categories: int) -> int:
    """Numbers that stand for a category: half its vocabulary, 1 to 16."""
    return min(16, (categories + 1) // 2 + 1)


class Network(nn.Module):
    """What is trained: a vector for each category or token, then the body.

    A missing category has a vector of its own; an unseen one is a fixed zero vector, for
    nothing can be known of it, and so is the padding of a text. Pixels are standardised by
    channel, with the mean and standard deviation of the first experience's training rows.

    Input: what `Prepare` gives. Output: float32 (rows, outputs), logits or the standardised
    value. The body gets float32: (rows, width) of a table; (rows, channels, height, width) of
    images; (rows, length, width + 1) of texts and (rows, length, 2) of sequences, where the
    last channel is 1 at an item and 0 at padding.

    With `bins`, a table's body also gets piecewise-linear features of each number and of each
    value seen of a time (Gorishniy, Rubachev and Babenko 2022, https://arxiv.org/abs/2203.05556,
    section 3.2). With the edges b_0 < … < b_n, quantiles of the first experience's training rows:

        feature t of z = clamp((z - b_t) / (b_{t+1} - b_t), 0, 1) / √bins

    so that all of a number's bins together weigh as much as the number. A column with few values
    has an edge at each of them, and zeros for the bins left over.

    With `heads`, a category column of a table says which of several outputs for each label
    are a row's: one head for each of its values (task-incremental learning: the row's task is
    known when it is predicted). The body then gives (rows, labels · heads).
    """

    mean: Tensor
    scale: Tensor
    edges: Tensor
    slopes: Tensor

    def __init__(
        self, spec: FeatureSpec, body: nn.Module, heads: str | None = None, bins: int = 0
    ) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(map(_embedding, _worded(spec)))
        if spec.kind == "image":
            channels = spec.columns[0].shape[2]
            self.register_buffer("mean", torch.zeros(channels, 1, 1))
            self.register_buffer("scale", torch.ones(channels, 1, 1))
        self._bins = bins
        if bins:
            self.register_buffer("edges", torch.zeros(spec.values, bins))
            self.register_buffer("slopes", torch.zeros(spec.values, bins))
        self.body = body
        self._kind = spec.kind
        self._plain = spec.plain
        self._heads = self.heads(spec, heads)
        self._task = [column.name for column in _worded(spec)].index(heads) if heads else 0

    @staticmethod
    def heads(spec: FeatureSpec, column: str | None) -> int:
        """How many heads there are: one for each value, for none and for an unseen one.

        Raises:
            ValueError: It is no category column of a table.
        """
        if column is None:
            return 1
        known = {c.name: c.words for c in spec.columns if c.kind == "category"}
        if column not in known:
            listed = ", ".join(known) or "none"
            raise ValueError(f"is no category column; those there are: {listed}")
        return FIRST + known[column]

    @staticmethod
    def inputs(spec: FeatureSpec, bins: int = 0) -> Inputs:
        """What the body gets of a row: a width for tables, else the shape."""
        column = spec.columns[0]
        if spec.kind == "image":
            height, width, channels = column.shape
            return channels, height, width
        if spec.kind in ("text", "sequence"):
            return column.length, (column.width if spec.kind == "text" else 1) + 1
        widths = (embedding_width(spec.columns[i].words) for i in spec.categories)
        return spec.plain + bins * spec.values + sum(widths)

    def fit(self, prepared: Tensor) -> None:
        """Take the mean and scale of pixels, or the edges of bins, from training rows.

        Exact sums of whole numbers, and quantiles: neither the order of rows nor threads change
        the result. Nothing is to be fitted of texts and sequences.

        Args:
            prepared: What `Prepare` gives: of images uint8 (rows, C, H, W).
        """
        for place in range(len(self.edges) if self._bins else 0):
            edges = _edges(prepared[:, place], self._bins)
            self.edges[place, : len(edges) - 1] = edges[:-1]
            self.slopes[place, : len(edges) - 1] = 1.0 / edges.diff()
        if self._kind != "image":
            return
        count = prepared[:, 0].numel()
        for channel in range(prepared.shape[1]):
            # How often each of the 256 values is there.
            times = np.bincount(prepared[:, channel].numpy().ravel(), minlength=256)
            values = np.arange(256)
            total, squares = int(times @ values), int(times @ values**2)
            spread = count * squares - total**2
            self.mean[channel] = total / max(1, count)
            self.scale[channel] = math.sqrt(spread) / count if spread > 0 else 1.0

    def forward(self, prepared: Tensor) -> Tensor:
        """What `Prepare` gives to float32 (rows, outputs)."""
        outputs = cast(Tensor, self.body(self._front(prepared)))
        if self._heads == 1:
            return outputs
        # Label by label, so that new labels come at the end: see `growth`.
        each = outputs.reshape(outputs.shape[0], -1, self._heads)
        head = self.head_of(prepared)
        return each.gather(2, head.view(-1, 1, 1).expand(-1, each.shape[1], 1)).squeeze(2)

    @property
    def head_count(self) -> int:
        """Heads; 1 without `heads`. Output number label · head_count + head is the body's."""
        return self._heads

    def head_of(self, prepared: Tensor) -> Tensor:
        """Which head each row's outputs come from, int64 (rows,)."""
        if self._heads == 1:
            return torch.zeros(len(prepared), dtype=torch.int64, device=prepared.device)
        return prepared[:, self._plain + self._task].to(torch.int64)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As torch's; a plain dict of tensors, as a file has it, is of these modules' versions.

        What says so is lost with the type that `state_dict` gives, and torchvision's MNASNet
        refuses to load without.
        """
        if not hasattr(state_dict, "_metadata"):
            whole = self.state_dict()
            whole.clear()
            whole.update(state_dict)
            state_dict = whole
        return super().load_state_dict(state_dict, *args, **kwargs)

    def take_statistics(self, other: Network) -> None:
        """Standardise pixels as another network does."""
        for name, buffer in self.named_buffers(recurse=False):
            buffer.copy_(other.get_buffer(name))

    def _front(self, prepared: Tensor) -> Tensor:
        if self._kind == "image":
            return (prepared.to(torch.float32) - self.mean) / self.scale
        if self._kind == "text":
            present = (prepared != PADDING).to(torch.float32).unsqueeze(2)
            return torch.cat([self.embeddings[0](prepared), present], dim=2)
        if not len(self.embeddings) and not self._bins:
            return prepared
        parts = [prepared[:, : self._plain]]
        if self._bins:
            z = prepared[:, : len(self.edges)].unsqueeze(2)
            each = ((z - self.edges) * self.slopes).clamp(0.0, 1.0)
            parts.append(each.flatten(1) / math.sqrt(self._bins))
        for place, embedding in enumerate(self.embeddings):
            parts.append(embedding(prepared[:, self._plain + place].to(torch.int64)))
        return torch.cat(parts, dim=1)


def _edges(values: Tensor, bins: int) -> Tensor:
    """Edges of at most so many bins with equally many rows in each, ascending, float32."""
    rounded = np.round(values.numpy(), 6)  # so that no slope is more than a million
    edges = np.unique(rounded)
    if len(edges) > bins:
        edges = np.unique(np.quantile(rounded, np.linspace(0.0, 1.0, bins + 1)).round(6))
    return torch.from_numpy(edges.astype(np.float32))


def rows_at_once(spec: FeatureSpec, most: int) -> int:
    """Rows for one pass without gradients: `most`, or fewer where a row is large; at least 1."""
    inputs = Network.inputs(spec)
    return most if isinstance(inputs, int) else max(1, min(most, AT_ONCE // math.prod(inputs)))


def _worded(spec: FeatureSpec) -> list[Column]:
    return [c for c in spec.columns if c.kind in ("category", "text")]


def _embedding(column: Column) -> nn.Embedding:
    if column.kind == "text":
        return nn.Embedding(1 + column.vocabulary, column.width, padding_idx=PADDING)
    known = column.words
    return nn.Embedding(FIRST + known, embedding_width(known), padding_idx=UNSEEN)


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
