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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from safetensors import SafetensorError

from perdure import manifest
from perdure.errors import Corrupt, Fault
from perdure.strategies.features.columns import FeatureSpec
from perdure.strategies.learner import digests
from perdure.strategies.learner.recipe import Recipe

VALUES = "learner.json"
UNREADABLE = (
    LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError,
    SafetensorError,
)  # fmt: skip
"""What reading values and tensors raises that are not as a learner has them."""

_HINT = "perdure rollback --to VERSION chooses a version that is whole"


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files and their manifest into a folder that is empty or missing.

    Raises:
        Fault: The folder has something in it; nothing was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise Fault(f"{folder} is not empty; a learner is written into a new folder")
    for name, data in files.items():
        (folder / name).write_bytes(data)
    manifest.write(folder, {n: hashlib.sha256(d).hexdigest() for n, d in files.items()})


def read(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The values of `learner.json`, and the bytes of each part's tensors, all checked.

    Raises:
        Corrupt: A file is missing, changed or unreadable, or names a part that is not there.
    """
    contents = {name: manifest.checked(folder, name) for name in sorted(manifest.sums(folder))}
    if VALUES not in contents:
        raise Corrupt(f"{folder / manifest.NAME} does not list {VALUES}", hint=_HINT)
    values = manifest.json_of(contents.pop(VALUES), folder / VALUES)
    _check_parts(folder, values, contents)
    return values, {name.removesuffix(".safetensors"): data for name, data in contents.items()}


def verify(folder: Path) -> None:
    """Check that a learner is complete and unchanged, without loading it.

    Raises:
        Corrupt: A file is missing, changed or unreadable.
    """
    read(folder)


@dataclass(frozen=True)
class Saved:
    """What can be said of a learner's files without torch, and without reading its tensors."""

    cursor: tuple[str, ...]
    spec: FeatureSpec
    recipe: Recipe


def look(folder: Path) -> Saved:
    """Read a learner as far as that needs no torch, and of its tensors the names alone.

    Args:
        folder: A learner whose manifest was compared already.

    Raises:
        Corrupt: A file is missing or unreadable, or is not what a learner has.
    """
    names = manifest.sums(folder)
    if VALUES not in names:
        raise Corrupt(f"{folder / manifest.NAME} does not list {VALUES}", hint=_HINT)
    values = manifest.json_in(folder, VALUES)
    _check_parts(folder, values, names.keys() - {VALUES})
    try:
        for name, part in values["parts"].items():
            path = folder / f"{name}.safetensors"
            _check_names(name, part, _names(path) if path.name in names else [])
        found = Saved(
            cursor_in(values),
            FeatureSpec.from_json(values["parts"]["features"]["values"]["spec"]),
            Recipe.from_json(values["recipe"]),
        )
        learned = int(values["parts"]["clock"]["values"]["train_exp_counter"])
    except UNREADABLE as error:
        raise unreadable(folder, error) from error
    check_count(folder, learned, found.cursor)
    return found


def digests_of(folder: Path) -> tuple[str, str]:
    """The digests of the weights and of the rest of a learner, from what its files hold.

    Raises:
        Corrupt: A file is missing, changed or unreadable.
    """
    values, contents = read(folder)
    parts = {}
    try:
        for name, part in values["parts"].items():
            tensors = digests.tensors(contents[name]) if name in contents else []
            _check_names(name, part, [tensor[0] for tensor in tensors])
            parts[name] = part["values"], tensors
        weights = parts.pop("weights")
        return digests.digest({"weights": weights}), digests.digest(parts)
    except UNREADABLE as error:
        raise unreadable(folder, error) from error


def unreadable(folder: Path, error: BaseException) -> Corrupt:
    """The fault that a learner's files hold something else than a learner."""
    return Corrupt(f"the learner in {folder} cannot be read: {error!r:.300}", hint=_HINT)


def cursor_in(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The cursor in the values of a learner.

    Raises:
        KeyError, TypeError: There is none.
    """
    if not _texts(values["cursor"]):
        raise TypeError("the cursor is no list of experiences")
    return tuple(values["cursor"])


def check_count(folder: Path, learned: int, cursor: Sequence[str]) -> None:
    """Compare a learner's clock with its cursor.

    Raises:
        Corrupt: They differ.
    """
    if learned != len(cursor):
        raise Corrupt(
            f"the learner in {folder} has learned {learned} experiences, "
            f"but its cursor lists {len(cursor)}",
            hint=_HINT,
        )


def _names(path: Path) -> list[str]:
    """The names of a file's tensors; their bytes are not read.

    Raises:
        SafetensorError, OSError: It is no such file.
    """
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as opened:
        return list(opened.keys())


def _check_names(name: str, part: Mapping[str, Any], names: Sequence[str]) -> None:
    if sorted(names) != sorted(part["tensors"]):
        raise ValueError(f"{name} has tensors {sorted(names)}, not {sorted(part['tensors'])}")


def _is_part(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("values"), dict)
        and _texts(value.get("tensors"))
    )


def _texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


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


def _check_parts(folder: Path, values: Mapping[str, Any], contents: Collection[str]) -> None:
    parts, memories = values.get("parts"), values.get("memories")
    if (
        not isinstance(parts, dict)
        or not all(map(_is_part, parts.values()))
        or not _texts(memories)
    ):
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
