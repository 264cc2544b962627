"""The files that MLflow keeps of a version: where they are, how large, and their removal.

MLflow only marks what is deleted (`mlflow gc` removes it later, on the server's machine). The files
are most of what a version takes, so they are removed here, through MLflow's artifact repositories:
a folder, `mlflow server`, S3 and other object stores alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from perdure.errors import Fault, PerdureError
from perdure.secrets import without_secrets
from perdure.tasks.registry.client import Client, Missing


def addresses(client: Client, raw: Any) -> tuple[str, ...]:
    """The addresses of everything that MLflow keeps of a version, those of its run among them.

    Only folders that MLflow made for this logged model and this run: the registry names addresses
    that others may have written, and what it names is removed.

    Args:
        client: The connection.
        raw: The version as MLflow has it.
    """
    found = []
    model_id, run_id = model_of(raw), raw.run_id or ""
    if model_id is not None:
        with suppress(Missing):  # an earlier try deleted it
            model = client.call("get_logged_model", model_id)
            found.append((str(model.artifact_location), model_id))
    if run_id:
        with suppress(Missing):
            found.append((str(client.call("get_run", run_id).info.artifact_uri), run_id))
    return tuple(address for address, owner in found if is_folder_of(address, owner))


def model_of(raw: Any) -> str | None:
    """The id of the logged model that a version is; None: an older MLflow logged it in its run."""
    source = str(raw.source)
    name = source.removeprefix("models:/")
    return name if name != source and "/" not in name and "@" not in name else None


def size(client: Client, address: str) -> int:
    """How many bytes lie at an address.

    Raises:
        Unreachable: The store does not answer.
        Fault: It refuses.
    """
    local = on_this_machine(address)
    if local is not None:
        return sum(path.lstat().st_size for path in local.rglob("*") if not path.is_dir())
    with _asked(client, address):
        return sum(_sizes(_repository(address), None))


def remove(client: Client, address: str) -> None:
    """Remove everything at an address; nothing there is well.

    Raises:
        Unreachable: The store does not answer.
        Fault: It refuses, or cannot remove anything at all.
    """
    local = on_this_machine(address)
    if local is None or local.exists():
        with _asked(client, address):
            _repository(address).delete_artifacts()
    if local is not None:
        with suppress(OSError):
            local.parent.rmdir()  # the folder of the run, or of the logged model, empty now


def on_this_machine(address: str) -> Path | None:
    """The folder at an address; None: it is in a store elsewhere."""
    parts = urlsplit(address)
    return Path(unquote(parts.path)) if parts.scheme in {"", "file"} else None


def is_folder_of(address: str, owner: str) -> bool:
    """Whether an address is the folder that MLflow makes for a run or a logged model."""
    parts = unquote(urlsplit(address).path).rstrip("/").split("/")
    return parts[-2:] == [owner, "artifacts"] and ".." not in parts


@contextmanager
def _asked(client: Client, address: str) -> Iterator[None]:
    """Ask the store of an address: each one raises what its own library does."""
    try:
        with client.current():
            yield
    except PerdureError:
        raise
    except Exception as error:
        raise Fault(
            f"the store of {without_secrets(address)} refuses: {type(error).__name__}: "
            f"{str(error)[:300]}",
            hint="it takes the right to list and to delete there",
        ) from error


def _repository(address: str) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(address)


def _sizes(repository: Any, path: str | None) -> Iterator[int]:
    for one in repository.list_artifacts(path):
        if one.is_dir:
            yield from _sizes(repository, one.path)
        else:
            yield int(one.file_size or 0)
