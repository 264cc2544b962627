"""Copies of what was refused: a file as it came, a folder as one ZIP archive.

One archive and not many files, for DVC's work grows with the number of files. Nothing is
packed tighter, and all dates are the same: the same content gives the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from perdure import escaping, untrusted_folder

BLOCK = 1 << 20
_DATE = (1980, 1, 1, 0, 0, 0)


def sha256(path: Path) -> str:
    """Digest of a file's bytes, or of the names and bytes of all files in a folder."""
    return _digest(path, None)


def keep(path: Path, part: Path) -> str:
    """Copy a file to `original.<suffix>` in a folder, or a folder to `original.zip`.

    What is neither has nothing to copy: a pipe, or a link to a folder, which stays where it is.

    Returns:
        Its sha256, as above.
    """
    if path.is_dir() and not path.is_symlink():
        with zipfile.ZipFile(part / "original.zip", "x", allowZip64=True) as archive:
            return _digest(path, archive)
    if not path.is_file():
        return _digest(path, None)
    suffix = re.sub(r"[^A-Za-z0-9.]", "", path.suffix)[:12]
    digest = hashlib.sha256()
    with path.open("rb") as source, (part / f"original{suffix}").open("xb") as target:
        while block := source.read(BLOCK):
            digest.update(block)
            target.write(block)
    return digest.hexdigest()


def keep_files(files: Iterable[tuple[str, bytes]], target: Path) -> None:
    """Put files, by name, into a ZIP archive."""
    with zipfile.ZipFile(target, "x", allowZip64=True) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(_inside(name), _DATE), data)


def _digest(path: Path, archive: zipfile.ZipFile | None) -> str:
    digest = hashlib.sha256()
    if path.is_dir():
        for entry in untrusted_folder.entries(path):
            digest.update(os.fsencode(entry.name) + b"\0" + f"{entry.size}\0".encode())
            _copy(path, entry, digest.update, archive)
    elif path.is_file():
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    else:
        digest.update(b"not a file: " + os.fsencode(path.name))
    return digest.hexdigest()


def _copy(
    folder: Path,
    entry: untrusted_folder.Entry,
    update: Callable[[bytes], None],
    archive: zipfile.ZipFile | None,
) -> None:
    info = zipfile.ZipInfo(_inside(entry.name), _DATE)
    if entry.fault is not None:
        target = folder / entry.name
        what = b"a link to " + os.fsencode(target.readlink()) if target.is_symlink() else b"no file"
        update(what)
        if archive is not None:
            archive.writestr(info, what + b"\n")
        return
    with untrusted_folder.opened(folder, entry.name) as source:
        if archive is None:
            while block := source.read(BLOCK):
                update(block)
            return
        with archive.open(info, "w", force_zip64=True) as copy:
            while block := source.read(BLOCK):
                update(block)
                copy.write(block)


def _inside(name: str) -> str:
    """A name for an archive that stays inside the folder where it is unpacked."""
    parts = [escaping.printable(part) for part in name.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "file"
