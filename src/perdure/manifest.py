"""A folder's manifest: the sha256 of every file in it, so that nothing changed is loaded.

A folder comes from others, perhaps: what stands in it is `Corrupt` where it is not as Perdure wrote
it, whatever it is. So files and JSON of such a folder are read by `checked` and `json_in` alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perdure.errors import Corrupt

NAME = "manifest.json"
FORMAT = 1
NAMED = 10
"""So many files are named by a fault, at most."""
_HINT = "perdure rollback --to VERSION chooses a version that is whole"
_PART = 2**20
_DIGEST = re.compile(r"[0-9a-f]{64}")


def write(folder: Path, known: Mapping[str, str] | None = None) -> None:
    """Write `manifest.json` over every file below a folder.

    Args:
        folder: The folder.
        known: Digests that are known already, by name; those files are not read.

    Raises:
        Corrupt: There is something that is neither a file nor a folder, such as a link.
    """
    known = known or {}
    sums = {name: known.get(name) or _digest(folder, name) for name in _files(folder)}
    text = json.dumps({"format": FORMAT, "sha256": sums}, indent=1, sort_keys=True)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def verify(folder: Path) -> None:
    """Check that every file is there and unchanged, and that there is no other.

    Raises:
        Corrupt: Naming each file that is missing, changed or unknown.
    """
    wanted = sums(folder)
    present = set(_files(folder))
    faults = [f"{name} is missing" for name in sorted(wanted.keys() - present)]
    faults += [f"{name} is not in the manifest" for name in sorted(present - wanted.keys())]
    faults += [
        f"{name} was changed"
        for name in sorted(wanted.keys() & present)
        if _digest(folder, name) != wanted[name]
    ]
    if faults:
        more = f" and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        raise Corrupt(
            f"{folder} is not what its manifest says: {'; '.join(faults[:NAMED])}{more}", hint=_HINT
        )


def digest(folder: Path) -> str:
    """SHA-256 of the manifest itself, and so of all that it lists: 64 hex digits.

    Raises:
        Corrupt: There is none.
    """
    return hashlib.sha256(_bytes(folder, NAME)).hexdigest()


def checked(folder: Path, name: str) -> bytes:
    """The bytes of one file, after a look at its digest.

    Raises:
        Corrupt: It is missing or changed, or no plain file in the folder.
    """
    expected = sums(folder).get(name)
    data = _bytes(folder, name)
    if hashlib.sha256(data).hexdigest() != expected:
        raise Corrupt(f"{folder / name} is not what its manifest says", hint=_HINT)
    return data


def json_in(folder: Path, name: str) -> dict[str, Any]:
    """The JSON object in one file, after a look at its digest.

    Raises:
        Corrupt: It is missing or changed, or is no JSON object.
    """
    return json_of(checked(folder, name), folder / name)


def json_of(data: bytes, path: Path) -> dict[str, Any]:
    """A JSON object.

    Args:
        data: Its text.
        path: The file that it came from.

    Raises:
        Corrupt: It is no JSON, nested too deeply, or no object.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"{path} is not JSON: {error}", hint=_HINT) from error
    if not isinstance(value, dict):
        raise Corrupt(f"{path} is not a JSON object", hint=_HINT)
    return value


def sums(folder: Path) -> dict[str, str]:
    """The digests in a folder's manifest, by name; no file is looked at.

    Raises:
        Corrupt: There is no manifest, it cannot be read, or it names what cannot be in the folder.
    """
    path = folder / NAME
    value = json_of(_bytes(folder, NAME), path)
    found = value.get("sha256")
    if not isinstance(found, dict) or value.get("format") != FORMAT:
        raise Corrupt(f"{path} is no manifest of format {FORMAT}", hint=_HINT)
    for name, sha256 in found.items():
        if not _is_below(name):
            raise Corrupt(f"{path} names {name[:80]!r}, which is no file of the folder", hint=_HINT)
        if not isinstance(sha256, str) or not _DIGEST.fullmatch(sha256):
            raise Corrupt(f"{path} has no digest of {name[:80]!r}", hint=_HINT)
    return found


def _is_below(name: str) -> bool:
    """Whether a name can only lead to a file of the folder."""
    return not {"", ".", ".."} & set(name.split("/")) and name != NAME


def _files(folder: Path) -> list[str]:
    found = []
    try:
        # A link could lead anywhere, and a change behind it would not be a change of the folder.
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise Corrupt(f"{path} is neither a file nor a folder", hint=_HINT)
            if path.is_file() and path != folder / NAME:
                found.append(path.relative_to(folder).as_posix())
    except RecursionError as error:
        raise Corrupt(f"{folder} has folders in folders, too deep", hint=_HINT) from error
    return found


def _digest(folder: Path, name: str) -> str:
    sha = hashlib.sha256()
    for part in _read(folder, name):
        sha.update(part)
    return sha.hexdigest()


def _bytes(folder: Path, name: str) -> bytes:
    return b"".join(_read(folder, name))


def _read(folder: Path, name: str) -> Iterator[bytes]:
    """A plain file of the folder, in parts. Neither a link is followed, nor a device or pipe read.

    Raises:
        Corrupt: It is something else, or cannot be read.
    """
    path = folder / name
    try:
        if any((folder / parent).is_symlink() for parent in Path(name).parents[:-1]):
            raise Corrupt(f"{path} lies behind a link", hint=_HINT)
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Corrupt(f"{path} is no file", hint=_HINT)
            while part := file.read(_PART):
                yield part
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise Corrupt(f"{path} cannot be read: {why}", hint=_HINT) from error
