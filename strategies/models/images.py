"""A small convolutional network for images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from perdure.strategies.models.parts import group_norm, share, wholes

_LAST = 4
"""Height and width, at most, of what the last layer sees."""


def cnn(
    inputs: tuple[int, int, int],
    outputs: int,
    widths: Sequence[int] = (32, 64, 128),
    dropout: float = 0.0,
) -> nn.Module:
    """A convolutional network (LeCun et al. 1998), with group instead of batch normalisation.

    http://yann.lecun.com/exdb/publis/pdf/lecun-01a.pdf

    Float32 (rows, channels, height, width) to (rows, outputs), for images of any size. One
    block for each of `widths`: a convolution of 3 x 3, group normalisation, ReLU, and the
    largest of each 2 x 2 while the image is wider and higher than that. Means over tiles leave
    at most 4 x 4, from which a linear layer gives the outputs.

    Group normalisation (Wu and He 2018, https://arxiv.org/abs/1803.08494) looks at one row at
    a time. The running statistics of batch normalisation would be those of the latest
    experience only, and be wrong for the earlier ones (Pham, Liu and Hoi 2022,
    https://arxiv.org/abs/2203.16102).

    Args:
        inputs: (channels, height, width).
        outputs: Width of the output.
        widths: Channels of each block, at least one.
        dropout: Share of the last layer's inputs set to zero in training, 0 to below 1.

    Raises:
        ValueError: A width is below 1, there is none, or dropout is out of range.
    """
    channels, height, width = inputs
    chosen = wholes("widths", widths)
    if not chosen:
        raise ValueError("widths = []: must have at least one width")
    layers: list[nn.Module] = []
    for wide in chosen:
        # No bias: the normalisation has one.
        layers += [nn.Conv2d(channels, wide, 3, padding=1, bias=False), group_norm(wide), nn.ReLU()]
        if min(height, width) >= 2:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        channels = wide
    tile = (-(-height // _LAST), -(-width // _LAST))
    if tile != (1, 1):
        layers.append(nn.AvgPool2d(tile, ceil_mode=True))
        height, width = -(-height // tile[0]), -(-width // tile[1])
    layers += [nn.Flatten(), nn.Dropout(share("dropout", dropout))]
    return nn.Sequential(*layers, nn.Linear(channels * height * width, outputs))
