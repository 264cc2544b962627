"""One image at the door, however it came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from perdure.strategies.features import images


class Item(Protocol):
    """One image: what it is called, its class, and its bytes or pixels on demand."""

    @property
    def name(self) -> str:
        """As people read it; unique."""

    @property
    def label(self) -> object:
        """Its class; None: it lies in no folder of one."""

    @property
    def size(self) -> int:
        """In bytes, as it came."""

    @property
    def fault(self) -> str | None:
        """Why it is not even opened."""

    def data(self) -> bytes:
        """Its file, or the beginning of one that is too large; raises OSError."""

    def pixels(self, shape: images.Shape) -> bytes:
        """Decoded; raises Unreadable and OSError."""

    def shape(self) -> images.Shape:
        """Bytes of the image as it came; raises Unreadable and OSError."""


@dataclass(frozen=True)
class FileItem:
    """An image that came as a file."""

    name: str
    label: object
    size: int
    fault: str | None
    read: Callable[[], bytes]

    def data(self) -> bytes:
        """See `Item`."""
        return self.read()

    def pixels(self, shape: images.Shape) -> bytes:
        """See `Item`."""
        return images.decode(self._checked(), shape)

    def shape(self) -> images.Shape:
        """See `Item`."""
        return images.measure(self._checked())

    def _checked(self) -> bytes:
        if self.fault is not None:
            raise images.Unreadable(self.fault)
        if self.size > images.LARGEST_BYTES:
            raise images.Unreadable(
                f"has {self.size:,} bytes; the most is {images.LARGEST_BYTES:,}"
            )
        return self.read()
