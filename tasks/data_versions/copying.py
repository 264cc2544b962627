"""A copy of the default DVC remote: files named after their md5, which never change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from perdure.config import Workspace
from perdure.errors import Fault
from perdure.secrets import without_secrets
from perdure.tasks.data_versions import listing
from perdure.tasks.data_versions.client import named, opened, quietly, use
from perdure.tasks.data_versions.pointer import revision_in
from perdure.tasks.data_versions.versions import REMOTE


def elsewhere(ws: Workspace) -> str | None:
    """The address of the DVC remote where it is not a folder in the workspace; no password."""
    remote = _remote(ws)
    if _is_within(ws, remote):
        return None
    return without_secrets(str(remote.config.get("url") or remote.path))


def store(ws: Workspace) -> Path:
    """The folder in the workspace that is the default remote.

    Raises:
        Fault: There is none, or its library is not installed.
    """
    return Path(str(_remote(ws).path))


def adopt(ws: Workspace, folder: Path) -> None:
    """Have DVC use a folder of the workspace as its default remote, as a copy has it.

    Where the configuration names another one, as by the absolute path of the workspace that was
    copied, `.dvc/config.local` says so, which is of this machine alone.

    Raises:
        Fault: DVC refuses.
    """
    from dvc.config_schema import RelPath

    with suppress(Fault):  # a remote whose library is not installed is another one
        remote = _remote(ws)
        if _is_within(ws, remote) and Path(remote.path).resolve() == folder.resolve():
            return
    with quietly(), named("remote"), opened(ws.root) as repo:
        name = repo.config["core"].get("remote") or REMOTE
        with repo.config.edit("local") as config:
            config["core"]["remote"] = name
            config["remote"][name] = {"url": RelPath(folder.resolve())}


def _is_within(ws: Workspace, remote: Any) -> bool:
    return bool(remote.fs.protocol == "local" and Path(remote.path).is_relative_to(ws.root))


def _remote(ws: Workspace) -> Any:
    with quietly(), named("remote"):
        return use(ws.root, lambda repo: repo.cloud.get_remote())


def cache(ws: Workspace) -> Path:
    """DVC's cache, which has the same objects."""
    return ws.root / ".dvc" / "cache"


def is_whole(path: Path) -> bool:
    """Whether an object's content is what its name says; while DVC writes one it is not."""
    name = (path.parent.name + path.name).removesuffix(".dir")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest() == name


def objects_of(pointer: str, folder: Path) -> Iterator[str]:
    """The objects that a `data.dvc` needs, as names below `folder`, the listing first.

    Args:
        pointer: The content of `data.dvc`.
        folder: Objects, with the listing among them once that was given.

    Raises:
        Fault: The pointer or the listing cannot be read.
        Corrupt: The listing names what does not belong into the data folder.
    """
    revision = revision_in(pointer)
    if revision is None:
        raise Fault("data.dvc, as git has it, cannot be read", hint="perdure doctor")
    name = _name(revision)
    yield name
    names = listing.read(folder / name, revision)
    if names is None:
        raise Fault("the listing of the data cannot be read", hint="dvc push")
    yield from map(_name, names.values())


def _name(digest: str) -> str:
    return listing.place(digest).as_posix()
