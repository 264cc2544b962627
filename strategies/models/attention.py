"""A transformer encoder for texts and sequences."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from perdure.strategies.models.parts import Positions, one_of, pooled, present, share, whole


class _Sinusoids(nn.Module):
    """Adds sines and cosines of the place: (rows, places, width) to the same."""

    table: Tensor

    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
        angles = torch.arange(places).unsqueeze(1) * rates
        table = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]
        self.register_buffer("table", table, persistent=False)  # it follows from the shape

    def forward(self, x: Tensor) -> Tensor:
        """Float32 (rows, places, width), with its place added to each."""
        return x + self.table


class _Block(nn.Module):
    """Attention and a perceptron, each after a normalisation and added to what entered."""

    def __init__(self, width: int, heads: int, inner: int, rate: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, rate
        self.norm_1 = nn.LayerNorm(width)
        self.projections = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.norm_2 = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, inner), nn.GELU(), nn.Dropout(rate), nn.Linear(inner, width)
        )
        self.dropout = nn.Dropout(rate)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Float32 (rows, places, width) and what is seen, bool (rows, 1, 1, places)."""
        split = self.projections(self.norm_1(x)).unflatten(2, (3, self.heads, -1))
        query, key, value = (split[:, :, n].transpose(1, 2) for n in range(3))
        found = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=seen, dropout_p=self.rate if self.training else 0.0
        )
        x = x + self.dropout(self.join(found.transpose(1, 2).flatten(2)))
        left: Tensor = x + self.dropout(self.perceptron(self.norm_2(x)))
        return left


class Transformer(nn.Module):
    """See `transformer`."""

    def __init__(
        self, inputs: tuple[int, int], outputs: int, width: int, heads: int, layers: int,
        inner: int, rate: float, positions: str, pooling: str,
    ) -> None:  # fmt: skip
        super().__init__()
        length, entered = inputs
        self.classes = pooling == "class"
        places = length + self.classes
        self.project = nn.Linear(entered, width)
        kind = Positions if positions == "learned" else _Sinusoids
        self.positions = kind(places, width)
        self.dropout = nn.Dropout(rate)
        self.blocks = nn.ModuleList(_Block(width, heads, inner, rate) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Float32 (rows, length, width) to (rows, outputs)."""
        items = present(x)
        x = self.project(x)
        if self.classes:  # a zero in front, which becomes what stands for its place
            x = functional.pad(x, (0, 0, 1, 0))
            items = functional.pad(items, (1, 0), value=True)
        # Where there is only padding, it sees itself, for a softmax over nothing is NaN.
        seen = (items | ~items.any(dim=1, keepdim=True)).unsqueeze(1).unsqueeze(1)
        x = self.dropout(self.positions(x))
        for block in self.blocks:
            x = block(x, seen)
        x = self.norm(x)
        outputs: Tensor = self.head(x[:, 0] if self.classes else pooled(x, items))
        return outputs


def transformer(
    inputs: tuple[int, int],
    outputs: int,
    width: int = 64,
    heads: int = 4,
    layers: int = 2,
    feed_forward: int = 128,
    dropout: float = 0.1,
    positions: Literal["sinusoidal", "learned"] = "sinusoidal",
    pooling: Literal["mean", "class"] = "mean",
) -> nn.Module:
    """A transformer encoder with the normalisation first.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; normalisation first: Xiong et al.
    2020, https://arxiv.org/abs/2002.04745; the class token: Devlin et al. 2019,
    https://arxiv.org/abs/1810.04805.

    Float32 (rows, length, width) to (rows, outputs). The last value of each place is 1 at an
    item and 0 at padding, which changes nothing. A row of only padding gives what a mean of 0
    gives.

    Args:
        inputs: (length, width).
        outputs: Width of the output.
        width: Of each place inside the encoder; a multiple of `heads`.
        heads: Of attention.
        layers: Of attention and perceptron, 1 to 48.
        feed_forward: Width inside each perceptron.
        dropout: Share set to zero in training, 0 to below 1.
        positions: "sinusoidal" (fixed) or "learned".
        pooling: What the last layer sees: the "mean" of the items, or a "class" token.

    Raises:
        ValueError: A parameter is out of range.
    """
    if whole("width", width) % whole("heads", heads):
        raise ValueError(f"width = {width!r}: must be a multiple of heads = {heads!r}")
    return Transformer(
        inputs,
        outputs,
        width,
        heads,
        whole("layers", layers, 1, 48),
        whole("feed_forward", feed_forward),
        share("dropout", dropout),
        one_of("positions", positions, ("sinusoidal", "learned")),
        one_of("pooling", pooling, ("mean", "class")),
    )
