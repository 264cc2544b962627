"""A learner's folder on disk: its files, and the manifest that vouches for them.

```
learner.json             the values of every part, the cursor, the vocabulary, the model's recipe
<part>.safetensors       the tensors of a part; a part without tensors has no file
manifest.json            sha256 of every file above
```

Needs neither torch nor Avalanche, so that a rollback can verify a learner at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perdure.errors import Corrupt, Fault

MANIFEST = "manifest.json"
VALUES = "learner.json"
FORMAT = 1
"""Of the layout; a reader refuses a number that it does not know."""

_HINT = "perdure rollback --to VERSION chooses a version that is whole"


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files and their manifest into a folder that is empty or missing.

    Raises:
        Fault: The folder has something in it; nothing was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise Fault(f"{folder} is not empty; a learner is written into a new folder")
    sums = {}
    for name, data in files.items():
        (folder / name).write_bytes(data)
        sums[name] = hashlib.sha256(data).hexdigest()
    text = json.dumps({"format": FORMAT, "sha256": sums}, indent=1, sort_keys=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The values of `learner.json`, and the bytes of each part's tensors, all checked.

    Raises:
        Corrupt: A file is missing, changed or unreadable, or names a part that is not there.
    """
    manifest = _json(_bytes(folder / MANIFEST), folder / MANIFEST)
    if manifest.get("format") != FORMAT or not isinstance(manifest.get("sha256"), dict):
        raise Corrupt(
            f"{folder / MANIFEST} has format {manifest.get('format')!r}; "
            f"this Perdure reads format {FORMAT}",
            hint=_HINT,
        )
    contents = {}
    for name, expected in sorted(manifest["sha256"].items()):
        data = _bytes(folder / name)
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise Corrupt(
                f"{folder / name} has sha256 {found[:12]}…, "
                f"the manifest says {str(expected)[:12]}…",
                hint=_HINT,
            )
        contents[name] = data
    if VALUES not in contents:
        raise Corrupt(f"{folder / MANIFEST} does not list {VALUES}", hint=_HINT)
    values = _json(contents.pop(VALUES), folder / VALUES)
    _check_parts(folder, values, contents)
    return values, {name.removesuffix(".safetensors"): data for name, data in contents.items()}


def verify(folder: Path) -> None:
    """Check that a learner is complete and unchanged, without loading it.

    Raises:
        Corrupt: A file is missing, changed or unreadable.
    """
    read(folder)


REQUIRED = (
    "clock",
    "features",
    "optimizer",
    "random.numpy",
    "random.python",
    "random.torch",
    "weights",
)
"""Parts of every learner; the strategies' memories come on top."""


def _check_parts(folder: Path, values: Mapping[str, Any], contents: Mapping[str, bytes]) -> None:
    parts, memories = values.get("parts"), values.get("memories")
    whole = isinstance(parts, dict) and all(isinstance(part, dict) for part in parts.values())
    if not whole or not isinstance(parts, dict) or not isinstance(memories, list):
        raise Corrupt(f"{folder / VALUES} does not list its parts and memories", hint=_HINT)
    lacking = [name for name in REQUIRED if name not in parts]
    lacking += [f"memory.{n}" for n in memories if f"memory.{n}" not in parts]
    lacking += [
        f"{name}.safetensors"
        for name, part in parts.items()
        if part.get("tensors") and f"{name}.safetensors" not in contents
    ]
    if lacking:
        raise Corrupt(f"the learner in {folder} lacks {', '.join(lacking)}", hint=_HINT)
    strange = sorted(
        name
        for name in contents
        if not name.endswith(".safetensors") or name.removesuffix(".safetensors") not in parts
    )
    if strange:
        raise Corrupt(
            f"the learner in {folder} has unknown files: {', '.join(strange)}", hint=_HINT
        )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Corrupt(f"{path} cannot be read: {error.strerror}", hint=_HINT) from error


def _json(data: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise Corrupt(f"{path} is not JSON: {error}", hint=_HINT) from error
    if not isinstance(value, dict):
        raise Corrupt(f"{path} is not a JSON object", hint=_HINT)
    return value
