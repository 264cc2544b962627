"""Files of images by class: in folders, or in a ZIP archive of folders."""

from __future__ import annotations

import lzma
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO

from perdure import escaping, untrusted_folder
from perdure.errors import DataRefused
from perdure.strategies.features import images
from perdure.tasks.tables.image_item import FileItem, Item

KEPT_BYTES = 2**30
"""Refused images, at most, that are copied out of an archive; with more, all of it is kept."""
MOST_FILES = 1_000_000
MOST_UNPACKED_BYTES = 64 * 2**30
"""Files in an archive, at most; each file is read by itself, so this bounds time, not memory."""
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError,
)  # fmt: skip
_HINT = "one folder for each class, with its images inside"


class Bundle:
    """Files of images, in order of name, to be used as a context."""

    def __init__(self, found: Sequence[Item], name: str, close: Callable[[], None]) -> None:
        self._found, self._close = found, close
        if not found:
            self._close()
            raise DataRefused(f"{name} has no files in it", hint=_HINT)
        if len(found) > MOST_FILES:
            self._close()
            raise DataRefused(f"{name} has {len(found):,} files; the most is {MOST_FILES:,}")
        if all(item.label is None for item in found):
            self._close()
            raise DataRefused(f"{name} has no folder of a class in it", hint=_HINT)

    def __len__(self) -> int:
        return len(self._found)

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def items(self) -> Iterator[Item]:
        """Every image."""
        return iter(self._found)


def is_zip(path: Path) -> bool:
    """Whether a file is a ZIP archive, as NPZ is too."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def is_npz(path: Path) -> bool:
    """Whether a file is an archive of arrays."""
    if not is_zip(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return path.suffix.lower() == ".npz"
    return bool(names) and all(name.endswith(".npy") for name in names)


def opened(path: Path) -> Bundle:
    """Look at a folder of class folders, or at a ZIP archive of such.

    Raises:
        DataRefused: It is neither, is damaged, or holds no images of a class.
        OSError: It cannot be read.
    """
    if path.is_dir():
        return Bundle(
            [_of_folder(path, entry) for entry in untrusted_folder.entries(path)], path.name, _nop
        )
    if not path.is_file() or not is_zip(path):
        raise DataRefused(
            f"{path.name} is neither a folder of images by class, nor a ZIP archive of such, nor "
            "NPZ arrays",
            hint=_HINT,
        )
    return _of_zip(path)


def _nop() -> None:
    pass


def _item(
    name: str, inner: str, size: int, fault: str | None, read: Callable[[], bytes]
) -> FileItem:
    """Its class is the first folder of the path `inner`."""
    label, inside, _ = inner.partition("/")
    if not inside and fault is None:
        fault = "lies in no folder of a class"
    return FileItem(name, label if inside else None, size, fault, read)


def _of_folder(folder: Path, entry: untrusted_folder.Entry) -> FileItem:
    def data() -> bytes:
        if entry.fault is not None:  # what it is, and not what it leads to
            return f"{entry.name} {entry.fault}\n".encode("utf-8", "backslashreplace")
        with untrusted_folder.opened(folder, entry.name) as file:
            return _read(file)

    name = escaping.printable(entry.name)
    return _item(name, name, entry.size, entry.fault, data)


def _of_zip(path: Path) -> Bundle:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise DataRefused(f"{path.name} is no whole ZIP archive: {error}") from error
    members = [one for one in archive.infolist() if not one.is_dir() and not _hidden(one.filename)]
    unpacked = sum(one.file_size for one in members)
    if unpacked > MOST_UNPACKED_BYTES:
        archive.close()
        raise DataRefused(
            f"{path.name} unpacks to {unpacked / 2**30:,.0f} GiB; "
            f"the most is {MOST_UNPACKED_BYTES / 2**30:.0f} GiB"
        )
    top = _one_top([one.filename for one in members])
    members.sort(key=lambda one: one.filename.split("/"))
    seen: set[str] = set()
    found = []
    for one in members:
        found.append(_of_member(archive, one, top, seen))
        seen.add(one.filename)
    return Bundle(found, path.name, archive.close)


def _of_member(
    archive: zipfile.ZipFile, one: zipfile.ZipInfo, top: str, seen: set[str]
) -> FileItem:
    def data() -> bytes:
        try:
            with archive.open(one) as file:
                return _read(file)
        except _DAMAGED as error:
            raise OSError(str(error)) from error

    fault = None
    parts = one.filename.split("/")
    if stat.S_ISLNK(one.external_attr >> 16):
        fault = "is a link"
    elif one.flag_bits & 1:
        fault = "is encrypted"
    elif ".." in parts or PurePosixPath(one.filename).is_absolute():
        fault = "has a path that leads out of the archive"
    elif one.filename in seen:
        fault = "is in the archive twice"
    name = escaping.printable(one.filename)
    shown = f"{name} (again)" if one.filename in seen else name
    return _item(shown, name.removeprefix(top), one.file_size, fault, data)


def _one_top(names: list[str]) -> str:
    """The folder around everything, where an archive was made of the folder and not its inside.

    Only where there are folders in it everywhere: else it is itself the folder of a class.
    """
    tops = {name.split("/")[0] for name in names}
    return f"{tops.pop()}/" if len(tops) == 1 and all(n.count("/") > 1 for n in names) else ""


def _hidden(name: str) -> bool:
    return any(
        (part.startswith(".") and part != "..") or part == "__MACOSX" for part in name.split("/")
    )


def _read(file: IO[bytes]) -> bytes:
    """All of a file, and never more than an image may have and one byte."""
    return file.read(images.LARGEST_BYTES + 1)
