"""A folder's manifest: the sha256 of every file in it, so that nothing changed is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from perdure.errors import Corrupt

NAME = "manifest.json"
FORMAT = 1
_HINT = "perdure rollback --to VERSION chooses a version that is whole"


def write(folder: Path, known: Mapping[str, str] | None = None) -> None:
    """Write `manifest.json` over every file below a folder.

    Args:
        folder: The folder.
        known: Digests that are known already, by name; those files are not read.

    Raises:
        Corrupt: There is something that is neither a file nor a folder, such as a link.
    """
    known = known or {}
    sums = {name: known.get(name) or _digest(folder / name) for name in _files(folder)}
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
        if _digest(folder / name) != wanted[name]
    ]
    if faults:
        raise Corrupt(f"{folder} is not what its manifest says: {'; '.join(faults)}", hint=_HINT)


def checked(folder: Path, name: str) -> bytes:
    """The bytes of one file, after a look at its digest.

    Raises:
        Corrupt: It is missing or changed.
    """
    expected = sums(folder).get(name)
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise Corrupt(f"{folder / name} cannot be read: {error.strerror}", hint=_HINT) from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise Corrupt(f"{folder / name} is not what its manifest says", hint=_HINT)
    return data


def sums(folder: Path) -> dict[str, str]:
    """The digests in a folder's manifest, by name; no file is looked at.

    Raises:
        Corrupt: There is no manifest, or it cannot be read.
    """
    path = folder / NAME
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise Corrupt(f"{path} cannot be read: {error.strerror}", hint=_HINT) from error
    except ValueError as error:
        raise Corrupt(f"{path} is not JSON: {error}", hint=_HINT) from error
    found = value.get("sha256") if isinstance(value, dict) else None
    if not isinstance(found, dict) or value.get("format") != FORMAT:
        raise Corrupt(f"{path} is no manifest of format {FORMAT}", hint=_HINT)
    return {str(name): str(digest) for name, digest in found.items()}


def _files(folder: Path) -> list[str]:
    found = []
    for path in sorted(folder.rglob("*")):
        # A link could lead anywhere, and a change behind it would not be a change of the folder.
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise Corrupt(f"{path} is neither a file nor a folder", hint=_HINT)
        if path.is_file() and path != folder / NAME:
            found.append(path.relative_to(folder).as_posix())
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
