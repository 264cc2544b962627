"""Images and labels as NPZ arrays, read without pickle."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from perdure.errors import DataRefused
from perdure.strategies.features import images

IMAGES = ("images", "x", "x_train")
LABELS = ("labels", "y", "y_train")
MOST_BYTES = 4 * 2**30
"""Bytes of all arrays of a file, unpacked: they are in memory whole."""


def left_out(path: Path) -> tuple[str, ...]:
    """A sentence where an NPZ file has other arrays than images and labels, such as `x_test`."""
    with zipfile.ZipFile(path) as archive:
        there = [name.removesuffix(".npy") for name in archive.namelist()]
    others = [name for name in there if name not in (*IMAGES, *LABELS)]
    return (f"left out: {', '.join(others)}",) if others else ()


class Arrays:
    """The images of an NPZ file, in order, to be used as a context.

    Raises:
        DataRefused: It is damaged, too large, or has not the arrays that it must have.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._size(path)
        try:
            with np.load(path, allow_pickle=False) as file:
                names = [self._one(file.files, names) for names in (IMAGES, LABELS)]
                self._images, self._labels = (np.asarray(file[name]) for name in names)
        # NotImplementedError: a compression that zipfile does not know.
        except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError) as error:
            first = str(error).partition("\n")[0]
            raise DataRefused(f"{path.name} cannot be read as NPZ: {first}") from error
        self._fits(*names)

    def __len__(self) -> int:
        return len(self._images)

    def __enter__(self) -> Arrays:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del self._images, self._labels

    def items(self) -> Iterator[ArrayItem]:
        """Every image."""
        for row, label in enumerate(self._labels.tolist(), start=1):
            yield ArrayItem(self._images[row - 1], f"row-{row}.png", label)

    def _size(self, path: Path) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(one.file_size for one in archive.infolist())
        # NotImplementedError: a compression that zipfile does not know.
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise DataRefused(f"{path.name} is no whole NPZ file: {error}") from error
        if unpacked > MOST_BYTES:
            raise DataRefused(
                f"{path.name} unpacks to {unpacked / 2**30:.1f} GiB; "
                f"the most is {MOST_BYTES / 2**30:.0f} GiB",
                hint="bring the images in several files",
            )

    def _one(self, there: list[str], names: tuple[str, ...]) -> str:
        found = [name for name in names if name in there]
        if len(found) != 1:
            what = f"both {found[0]!r} and {found[1]!r}" if found else f"no {names[0]!r}"
            raise DataRefused(
                f"{self._name} has {what}; its arrays are {', '.join(map(repr, there))}",
                hint="numpy.savez(FILE, images=…, labels=…)",
            )
        return found[0]

    def _fits(self, pictures: str, labels: str) -> None:
        shape, kind = self._images.shape, self._images.dtype
        if kind != np.uint8 or len(shape) not in (3, 4) or 0 in shape or shape[3:] > (4,):
            raise DataRefused(
                f"{self._name}: {pictures} is {kind} of shape {shape}; it must be uint8 (rows, "
                "height, width) or (rows, height, width, channels), of 1 to 4 channels"
            )
        if self._labels.shape != shape[:1]:
            raise DataRefused(
                f"{self._name}: {labels} has shape {self._labels.shape} beside {shape[0]} images; "
                "one label for each image, (rows,)"
            )
        if self._labels.dtype.kind not in "biufU":
            raise DataRefused(
                f"{self._name}: {labels} is {self._labels.dtype}; it must be text, numbers or "
                "truth values"
            )


@dataclass(frozen=True, eq=False)
class ArrayItem:
    """An image that came as pixels; see `items.Item`."""

    array: npt.NDArray[np.uint8]
    name: str
    label: object
    fault: None = None

    @property
    def size(self) -> int:
        """In bytes, as pixels."""
        return self.array.nbytes

    def data(self) -> bytes:
        """A PNG file of it."""
        return images.to_png(self.array)

    def pixels(self, shape: images.Shape) -> bytes:
        """In the shape."""
        return images.fit(self.array, shape)

    def shape(self) -> images.Shape:
        """As it came."""
        grey = self.array.ndim == 2 or self.array.shape[2] < 3
        return self.array.shape[0], self.array.shape[1], 1 if grey else 3
