"""A folder's manifest: the sha256 of every file in it, so that nothing changed is loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from perdure.errors import Corrupt

NAME = "manifest.json"
FORMAT = 1
_HINT = "perdure rollback --to VERSION chooses a version that is whole"


def write(folder: Path) -> None:
    """Write `manifest.json` over every file below a folder.

    Raises:
        Corrupt: There is something that is neither a file nor a folder, such as a link.
    """
    sums = {name: _digest(folder / name) for name in _files(folder)}
    text = json.dumps({"format": FORMAT, "sha256": sums}, indent=1, sort_keys=True)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def verify(folder: Path) -> None:
    """Check that every file is there and unchanged, and that there is no other.

    Raises:
        Corrupt: Naming each file that is missing, changed or unknown.
    """
    sums = _read(folder)
    present = set(_files(folder))
    faults = [f"{name} is missing" for name in sorted(sums.keys() - present)]
    faults += [f"{name} is not in the manifest" for name in sorted(present - sums.keys())]
    faults += [
        f"{name} was changed"
        for name in sorted(sums.keys() & present)
        if _digest(folder / name) != sums[name]
    ]
    if faults:
        raise Corrupt(f"{folder} is not what its manifest says: {'; '.join(faults)}", hint=_HINT)


def checked(folder: Path, name: str) -> bytes:
    """The bytes of one file, after a look at its digest.

    Raises:
        Corrupt: It is missing or changed.
    """
    expected = _read(folder).get(name)
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise Corrupt(f"{folder / name} cannot be read: {error.strerror}", hint=_HINT) from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise Corrupt(f"{folder / name} is not what its manifest says", hint=_HINT)
    return data


def _read(folder: Path) -> dict[str, str]:
    path = folder / NAME
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise Corrupt(f"{path} cannot be read: {error.strerror}", hint=_HINT) from error
    except ValueError as error:
        raise Corrupt(f"{path} is not JSON: {error}", hint=_HINT) from error
    sums = value.get("sha256") if isinstance(value, dict) else None
    if not isinstance(sums, dict) or value.get("format") != FORMAT:
        raise Corrupt(f"{path} is no manifest of format {FORMAT}", hint=_HINT)
    return {str(name): str(digest) for name, digest in sums.items()}


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
