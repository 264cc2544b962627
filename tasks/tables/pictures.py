"""Images at the door: a folder for each class, a ZIP archive of such, or NPZ arrays.

Nothing is unpacked to the disk, no link is followed, and nothing is unpickled. An image that
cannot be read is one refused row, with its file's name; decoding goes image by image, so that
what is in memory at once is the decoded pixels and a single file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perdure.errors import DataRefused, UsageError
from perdure.progress import track
from perdure.strategies.features import images
from perdure.tasks.tables import arrays, bundles, foreign
from perdure.tasks.tables.columns import ImageColumn
from perdure.tasks.tables.image_item import Item

if TYPE_CHECKING:
    import pandas as pd

COLUMN = "image"
TARGET = "label"
LARGEST_SIDE = 224
"""Pixels: `init` uses no larger images by itself."""
LOOKED_AT = 2_000
"""Images, about, that `init` looks at for their size."""
MOST_PIXEL_BYTES = 4 * 2**30
"""Bytes of one experience, decoded: it is in memory whole while it is learned."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One image at the door: its pixels, or why it has none."""

    name: str
    pixels: bytes | None
    fault: str | None = None

    def __str__(self) -> str:
        """Its name: that is what stands in lists of refused rows."""
        return self.name


def holds_images(path: Path) -> bool:
    """Whether a path is a folder, a ZIP archive or NPZ arrays, and holds no tables."""
    found = path.is_dir() or (path.is_file() and bundles.is_zip(path))
    return found and not foreign.holds_tables(path)


def read_pictures(path: Path, column: str, kind: ImageColumn, target: str) -> pd.DataFrame:
    """Read and decode images with their labels.

    Args:
        path: A folder of class folders, a ZIP archive of such, or NPZ arrays `images` (or `x`)
            and `labels` (or `y`).
        column: Name of the images' column.
        kind: Their size and channels.
        target: Name of the labels' column.

    Returns:
        Two columns, `Picture` and label; the index is named `row`, 1 is the first. Files are in
        order of name.

    Raises:
        DataRefused: It is no such thing, has no images, or more than fit.
    """
    import pandas as pd

    shape = (kind.height, kind.width, kind.channels)
    pictures: list[Picture] = []
    labels: list[object] = []
    with _opened(path) as source:
        _not_too_many(path, len(source), shape)
        with track(f"decoding {path.name}", len(source)) as advance:
            for item in source.items():
                pictures.append(_picture(item, shape))
                labels.append(item.label)
                advance(1)
    index = pd.RangeIndex(1, len(pictures) + 1, name="row")
    return pd.DataFrame(
        {
            column: pd.Series(pictures, index=index, dtype=object),
            target: pd.Series(labels, index=index, dtype=object),
        }
    )


def notes(path: Path) -> tuple[str, ...]:
    """What a person should know of images that were read."""
    return arrays.left_out(path) if path.is_file() and bundles.is_npz(path) else ()


def _opened(path: Path) -> bundles.Bundle | arrays.Arrays:
    try:
        if path.is_file() and bundles.is_npz(path):
            return arrays.Arrays(path)
        return bundles.opened(path)
    except OSError as error:
        raise DataRefused(f"{path.name} cannot be read: {error}") from error


def _picture(item: Item, shape: images.Shape) -> Picture:
    try:
        return Picture(item.name, item.pixels(shape))
    except images.Unreadable as error:
        return Picture(item.name, None, str(error))
    except OSError as error:
        return Picture(item.name, None, f"cannot be read: {error.strerror or error}")


def _not_too_many(path: Path, count: int, shape: images.Shape) -> None:
    height, width, channels = shape
    needed = count * height * width * channels
    if needed > MOST_PIXEL_BYTES:
        raise DataRefused(
            f"{path.name} holds {count:,} images, {needed / 2**30:.1f} GiB when decoded to "
            f"{height} x {width} x {channels}; the most is {MOST_PIXEL_BYTES / 2**30:.0f} GiB",
            hint="bring them in several folders or archives, or make height and width smaller",
        )


def infer_column(path: Path, size: tuple[int, int] | None) -> tuple[ImageColumn, list[object]]:
    """The most common size of the images, at most 224 pixels on the longer side; their labels.

    Args:
        path: As `read_pictures` takes it.
        size: Height and width, if they are known already.

    Raises:
        DataRefused: It is no such thing, or no image in it can be read.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    labels: list[object] = []
    grey = True
    with _opened(path) as source:
        every = max(1, len(source) // LOOKED_AT)
        for place, item in enumerate(source.items()):
            labels.append(item.label)
            if place % every:
                continue
            try:
                height, width, channels = item.shape()
            except (images.Unreadable, OSError):
                continue
            sizes[height, width] += 1
            grey = grey and channels == 1
    if not sizes:
        raise DataRefused(f"{path.name} has no image that can be read")
    height, width = min(sizes, key=lambda known: (-sizes[known], known))
    if size is None:
        longer = max(height, width)
        scale = min(1.0, LARGEST_SIDE / longer)
        size = max(1, round(height * scale)), max(1, round(width * scale))
    column = ImageColumn(height=size[0], width=size[1], channels=1 if grey else 3)
    return column, labels


def parse_size(text: str) -> tuple[int, int]:
    """`HEIGHTxWIDTH` as two whole numbers.

    Raises:
        UsageError: It is something else.
    """
    parts = text.lower().split("x")
    if len(parts) == 2 and all(part.isascii() and part.isdecimal() for part in parts):
        height, width = map(int, parts)
        if 1 <= height <= 4096 and 1 <= width <= 4096:
            return height, width
    raise UsageError(
        f"--size {text!r} is no size of images", hint="--size 32x32: height and width, 1 to 4096"
    )


def refused(path: Path, names: Sequence[str]) -> Iterator[tuple[str, bytes]] | None:
    """The files of refused images, as they came, for the quarantine.

    Args:
        path: As `read_pictures` took it.
        names: Those of the refused pictures.

    Returns:
        Name and bytes of each; from arrays, PNG files. None: they are too many, too large or
        too damaged to be taken out, and what came is to be kept whole.
    """
    wanted = set(names)
    with _opened(path) as source:
        chosen = [item for item in source.items() if item.name in wanted]
        if sum(item.size for item in chosen) > bundles.KEPT_BYTES:
            return None
        for item in chosen:
            try:
                if len(item.data()) > images.LARGEST_BYTES:
                    return None
            except OSError:
                return None
    return _taken(path, wanted)


def _taken(path: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    with _opened(path) as source:
        for item in source.items():
            if item.name in wanted:
                yield item.name, item.data()
