"""The listing of the data folder, which DVC keeps as a file of JSON: checked before DVC obeys it.

It comes from others, through the DVC remote, as `data.dvc` does through git. DVC joins the names in
it to the folder and the digests to its cache, whatever they are: `../../.ssh/authorized_keys` is
written there (dvc-data 3, `hashfile/tree.py`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from perdure.errors import Corrupt

OBJECTS = Path("files") / "md5"
"""Where DVC keeps objects, in its cache and in a remote."""
CACHE = Path(".dvc") / "cache"
_DIGEST = re.compile(r"[0-9a-f]{32}")
_KEYS = frozenset({"relpath", "md5", "size", "isexec"})
_RESERVED = frozenset({"", ".", "..", ".git", ".dvc"})
"""No part of a name: they lead elsewhere, or are folders that git and DVC obey."""


def place(digest: str) -> Path:
    """The path of an object within the cache or a remote."""
    return OBJECTS / digest[:2] / digest[2:]


def read(path: Path, revision: str) -> Mapping[str, str] | None:
    """The md5 of each file in a listing, by its name; None: it is not there, or not whole.

    Args:
        path: The listing.
        revision: DVC's hash of it.

    Raises:
        Corrupt: It is whole, and names what does not belong into the folder.
    """
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return checked(data) if is_of(data, revision) else None


def is_of(data: bytes, revision: str) -> bool:
    """Whether a listing has the hash that `data.dvc` names."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest() == revision.removesuffix(".dir")


def checked(data: bytes) -> Mapping[str, str]:
    """The md5 of each file in a listing, by its name relative to the folder.

    Raises:
        Corrupt: It is no listing, or a name or digest in it leads out of the folder or the cache.
    """
    try:
        entries = json.loads(data)
        found = {entry["relpath"]: entry["md5"] for entry in entries}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _refused(f"it cannot be read ({type(error).__name__})") from error
    for entry in entries:
        name, digest = entry["relpath"], entry["md5"]
        if not isinstance(name, str) or "\0" in name or _RESERVED & set(name.split("/")):
            raise _refused(f"the name {name!r} leads out of it")
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise _refused(f"the digest of {name!r} is {digest!r}")
        if unknown := sorted(set(entry) - _KEYS):
            raise _refused(f"{name!r} has {unknown[0]!r}, which Perdure does not use")
    return found


def no_links(folder: Path, names: Mapping[str, str]) -> None:
    """Refuse a folder with a link where a file is to be written: it would be written elsewhere.

    Raises:
        Corrupt: Naming the link.
    """
    parents = {parent for name in names for parent in Path(name).parents}
    for parent in sorted(parents):
        if (folder / parent).is_symlink():
            raise Corrupt(f"{folder / parent} is a link; nothing is written through it")


def _refused(why: str) -> Corrupt:
    return Corrupt(
        f"the listing of the data folder is refused: {why}; nothing was fetched",
        hint="git log -p data.dvc shows who recorded it",
    )
