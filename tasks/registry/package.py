"""What MLflow wrote around a version folder: `MLmodel`, which says what MLflow runs, and others.

`mlflow.pyfunc.load_model` imports the module that `MLmodel` names, and puts `code/` before the
installed modules, before any code of ours can look. So a tag of the version holds a digest of all
these files, and whatever loads a version compares it.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from perdure.errors import Corrupt
from perdure.records import Version

LOADER = "perdure.tasks.serving"
"""The module that MLflow loads a version with."""
DATA = "data"
"""The folder of the version folder, which has a manifest of its own."""
MODEL = "MLmodel"
NOT_OURS = "registered_model_meta"
"""MLflow writes it into what it downloads of a registered model."""
_WRITTEN = frozenset(
    {MODEL, NOT_OURS, DATA, "conda.yaml", "python_env.yaml", "requirements.txt",
     "input_example.json", "serving_input_example.json", "environment_variables.txt"}
)  # fmt: skip
"""What MLflow 3 writes into the folder of a model without code."""
_HINT = "perdure rollback --to VERSION chooses another version; do not serve this one"


def digest(files: Mapping[str, bytes]) -> str:
    """One digest of the files around a version folder, by their names: 64 hex digits."""
    lines = (f"{hashlib.sha256(files[name]).hexdigest()} {name}\n" for name in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def on_this_machine(model: Path) -> dict[str, bytes]:
    """The files around a version folder, by name; a folder that does not belong there is empty.

    Args:
        model: Holds `MLmodel`, and the version folder below `data`.

    Raises:
        Corrupt: There is a link, or more than one version folder.
    """
    found = {}
    for path in sorted(model.iterdir()):
        if path.is_symlink():
            raise Corrupt(f"{path} is a link", hint=_HINT)
        if path.name == DATA:
            one_folder(model, len(list(path.iterdir())))
        elif path.name != NOT_OURS:
            found[path.name] = path.read_bytes() if path.is_file() else b""
    return found


def at_mlflow(location: str) -> dict[str, bytes]:
    """The same, read from where MLflow keeps the artifacts of a model.

    Args:
        location: The address of the artifacts.

    Raises:
        Corrupt: There is more than one version folder.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    kept: Any = get_artifact_repository(location)  # without types
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "file"
        for one in kept.list_artifacts():
            if one.path == DATA:
                one_folder(location, len(kept.list_artifacts(DATA)))
            elif one.is_dir:
                found[one.path] = b""
            elif one.path != NOT_OURS:
                # The public method lists each file first, which is a request more to a server.
                kept._download_file(one.path, str(file))  # noqa: SLF001
                found[one.path] = file.read_bytes()
    return found


def one_folder(place: Path | str, count: int) -> None:
    """Refuse a model with none or several version folders.

    Raises:
        Corrupt: `count` is not 1.
    """
    if count != 1:
        raise Corrupt(f"{place} has {count} version folders; it needs one", hint=_HINT)


def check(files: Mapping[str, bytes], version: Version) -> None:
    """Compare the files around a version folder with what was registered.

    Of a version that an older Perdure registered there is no digest; then `MLmodel` must name our
    loader and no code, and there must be no other file than MLflow writes.

    Raises:
        Corrupt: They differ.
    """
    recorded = version.package_sha256
    if recorded is not None and digest(files) == recorded:
        return
    fault = next(_faults(files), None)
    if fault is None and recorded is not None:
        fault = f"{', '.join(sorted(files))}: one was changed or removed"
    if fault is not None:
        raise Corrupt(
            f"version {version.version}: {fault}; MLflow could run other code than Perdure's",
            hint=_HINT,
        )


def _faults(files: Mapping[str, bytes]) -> Iterator[str]:
    """What in these files is not as Perdure has MLflow write it."""
    yield from (f"{name} does not belong there" for name in sorted(files) if name not in _WRITTEN)
    try:
        flavors: Any = yaml.safe_load(files[MODEL])["flavors"]
        python = flavors["python_function"]
        loader, data, code = python["loader_module"], python["data"], python.get("code")
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        yaml.YAMLError,
    ) as error:
        yield f"{MODEL} cannot be read ({type(error).__name__})"
        return
    if set(flavors) != {"python_function"}:
        yield f"{MODEL} has the flavors {', '.join(sorted(map(str, flavors)))}"
    if loader != LOADER:
        yield f"{MODEL} names the loader {loader!r}, not {LOADER!r}"
    if code is not None:
        yield f"{MODEL} names the code {code!r}"
    if not str(data).startswith(f"{DATA}/") or ".." in Path(str(data)).parts:
        yield f"{MODEL} names the data {data!r}"
