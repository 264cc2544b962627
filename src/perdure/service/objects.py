"""The objects of a folder elsewhere, as fsspec lists them, and copies of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perdure import atomic

_VERSION = (
    "size", "mtime", "LastModified", "last_modified", "updated", "created", "ino", "ETag", "etag",
    "md5", "md5Hash", "content_md5", "crc32c", "generation", "version_id", "VersionId",
)  # fmt: skip
"""What file systems of fsspec report of an object that differs between two versions of it."""


@dataclass(frozen=True)
class Found:
    """An object, or a folder of images, as a listing has it."""

    path: str
    version: str
    """Differs between two states of it."""
    sizes: Mapping[str, int | None] = field(compare=False)
    """Sizes of its files, by path, in bytes; None: unknown."""
    folder: bool = False


def listed(fs: Any, root: str, *, folders: bool) -> dict[str, Found]:
    """All that is not hidden in a folder, by name.

    Args:
        fs: A file system of fsspec's.
        root: The folder.
        folders: Folders count too, with all that is in them.
    """
    found = {}
    for one in fs.ls(root, detail=True):
        path = str(one["name"])
        name = path.rstrip("/").rpartition("/")[2]
        if not name or name.startswith(".") or path.rstrip("/") == root.rstrip("/"):
            continue
        if one["type"] == "file":
            found[name] = Found(path, _version(one), {path: one.get("size")})
        elif one["type"] == "directory" and folders and (inside := _inside(fs, path)).sizes:
            found[name] = inside
    return found


def copy(fs: Any, found: Found, to: Path) -> None:
    """Copy an object, or a folder, to where nothing is yet.

    Raises:
        OSError: It changed meanwhile, or a name in it would lead out of the folder.
    """
    targets = {path: to.joinpath(*_below(found, path)) for path in found.sizes}
    before = _now(fs, found)
    if dict(before.sizes) != dict(found.sizes):
        raise OSError("it changed after it was listed")
    for target in targets.values():
        target.parent.mkdir(parents=True, exist_ok=True)
    if found.folder:
        # As two lists: a name with a bracket or a star in it is then no pattern.
        fs.get(list(targets), [str(target) for target in targets.values()])
    else:
        fs.get_file(found.path, str(to))
    if _now(fs, found) != before:
        raise OSError("it changed while it was being read")
    for target in targets.values():
        atomic.sync(target)


def _below(found: Found, path: str) -> Iterator[str]:
    """The names that lead from an object to a file in it; object stores allow any."""
    if not found.folder:
        return
    for part in path.removeprefix(found.path.rstrip("/")).lstrip("/").split("/"):
        if part in ("", ".", "..") or "\0" in part:
            raise OSError(f"{path!r} is no path below the folder")
        yield part


def _now(fs: Any, found: Found) -> Found:
    """Return it as it is now: read by itself, for a listing may be long."""
    fs.invalidate_cache()
    if found.folder:
        return _inside(fs, found.path)
    facts = fs.info(found.path)
    return Found(found.path, _version(facts), {found.path: facts.get("size")})


def _inside(fs: Any, path: str) -> Found:
    inside = {
        str(each): facts
        for each, facts in fs.find(path, detail=True).items()
        if not str(each).endswith("/")  # which stands for a folder
    }
    text = json.dumps(sorted((each, _version(facts)) for each, facts in inside.items()))
    sizes = {each: facts.get("size") for each, facts in inside.items()}
    return Found(path, short(text), sizes, folder=True)


def _version(facts: Mapping[str, Any]) -> str:
    return short(json.dumps([str(facts.get(key)) for key in _VERSION]))


def short(text: str) -> str:
    """A short hash of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
