"""The bytes of a file, unpacked where it is compressed as a whole: gzip, bzip2, xz, Zstandard.

What it unpacks to is bounded: a small file may claim any size (a decompression bomb).
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from perdure.errors import DataRefused

HEAD = 65_536
"""Bytes by which a file's kind is known."""
MOST_UNPACKED_BYTES = 4 * 2**30
"""Bytes of a table: as `pictures.MOST_PIXEL_BYTES` of images, for it is in memory whole."""
FREE_BYTES = 64 * 2**20
MOST_RATIO = 200
"""So many times its packed size is a table at most, from `FREE_BYTES` on. Tables of numbers are
packed to a third or a tenth; one of little but zeros to a hundredth."""
LONGEST_LINE = 256 * 2**20
"""Bytes without a line end, of what was packed: a line is in memory whole."""
_MAGIC = {
    "gzip": rb"\x1f\x8b\x08",
    "bzip2": rb"BZh[1-9](1AY&SY|\x17rE8P\x90)",
    "xz": rb"\xfd7zXZ\x00",
    "Zstandard": rb"\x28\xb5\x2f\xfd",
}
_SUFFIXES = {".gz", ".gzip", ".bz2", ".xz", ".zst", ".zstd"}
_BLOCK = 2**20


@dataclass(frozen=True)
class Source:
    """A file, and how it is compressed.

    Attributes:
        path: The file.
        packing: `gzip`, `bzip2`, `xz`, `Zstandard`; None: it is not.
        head: Its first `HEAD` bytes, unpacked.
    """

    path: Path
    packing: str | None
    head: bytes

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return self.path.name

    @property
    def suffix(self) -> str:
        """In lower case, without that of the compression."""
        suffixes = [suffix.lower() for suffix in self.path.suffixes]
        if self.packing and suffixes and suffixes[-1] in _SUFFIXES:
            suffixes.pop()
        return suffixes[-1] if suffixes else ""

    def open(self) -> BinaryIO:
        """The unpacked bytes from the beginning.

        Reading them raises DataRefused where they end too early or are too many.
        """
        return _opened(self.path, self.packing)


def source(path: Path) -> Source:
    """Look at the beginning of a file.

    Raises:
        DataRefused: It is compressed, but damaged or cut off.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    packing = next((name for name, magic in _MAGIC.items() if re.match(magic, head)), None)
    if packing is not None:
        with _opened(path, packing) as unpacked:
            head = unpacked.read(HEAD)
        if not head:
            raise DataRefused(f"{path.name} is empty (0 bytes when unpacked from {packing})")
    return Source(path, packing, head)


def _opened(path: Path, packing: str | None) -> BinaryIO:
    if packing is None:
        return path.open("rb")
    return io.BufferedReader(_Unpacked(path, packing, _unpacker(path, packing)), _BLOCK)


def _unpacker(path: Path, packing: str) -> IO[bytes]:
    if packing == "gzip":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if packing == "bzip2":
        return bz2.open(path, "rb")
    if packing == "xz":
        return lzma.open(path, "rb")
    import pyarrow as pa

    return cast("IO[bytes]", pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))


class _Unpacked(io.RawIOBase):
    """The unpacked bytes, counted."""

    def __init__(self, path: Path, packing: str, inner: IO[bytes]) -> None:
        super().__init__()
        self._name, self._packing, self._inner = path.name, packing, inner
        size = path.stat().st_size
        self._most = min(MOST_UNPACKED_BYTES, max(FREE_BYTES, MOST_RATIO * size))
        self._count = self._line = 0

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
        super().close()

    def readinto(self, buffer: Any, /) -> int:
        try:
            data = self._inner.read(len(buffer))
        except EOFError as error:
            raise self._cut_off() from error
        except (OSError, ValueError, zlib.error, lzma.LZMAError) as error:
            if "truncated" in str(error).lower():  # what pyarrow has instead of EOFError
                raise self._cut_off() from error
            raise DataRefused(
                f"{self._name} is damaged: it cannot be unpacked from {self._packing} ({error})"
            ) from error
        buffer[: len(data)] = data
        self._bound(data)
        return len(data)

    def _cut_off(self) -> DataRefused:
        return DataRefused(
            f"{self._name} was cut off: the end of its {self._packing} data is not there",
            hint="copy it again, whole",
        )

    def _bound(self, data: bytes) -> None:
        self._count += len(data)
        if self._count > self._most:
            raise DataRefused(
                f"{self._name} unpacks to more than {self._most / 2**20:,.0f} MiB; the most is "
                f"{MOST_RATIO} times its size, and {MOST_UNPACKED_BYTES / 2**30:.0f} GiB",
                hint="unpack it yourself, or split it into files",
            )
        end = max(data.rfind(b"\n"), data.rfind(b"\r"))
        self._line = len(data) - end - 1 + (0 if end >= 0 else self._line)
        if self._line > LONGEST_LINE:
            raise DataRefused(
                f"{self._name} unpacks to a line of more than {LONGEST_LINE / 2**20:.0f} MiB"
            )
