"""One file of a revision of the data, written elsewhere: data folder and cache stay as they are."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from perdure.config import Workspace
from perdure.tasks.data_versions import listing
from perdure.tasks.data_versions.client import quietly, remotely, use

if TYPE_CHECKING:
    from dvc.repo import Repo


def fetch(ws: Workspace, revision: str, name: str, target: Path) -> bool:
    """Write one file of a revision, from the cache or the default remote.

    Args:
        ws: The workspace.
        revision: DVC's hash of the data.
        name: The file, relative to the data folder.
        target: Where to; its folder must be there.

    Returns:
        Whether it is there still.

    Raises:
        Unreachable: The remote does not answer.
        Corrupt: The listing of the revision names what does not belong into the folder.
    """
    with quietly() as logged, remotely(ws, logged):
        return use(ws.root, lambda repo: _fetch(repo, revision, name, target))


def _fetch(repo: Repo, revision: str, name: str, target: Path) -> bool:
    if not _object(repo, revision, target):
        return False
    names = listing.checked(target.read_bytes())
    target.unlink()
    return name in names and _object(repo, names[name], target)


def _object(repo: Repo, digest: str, target: Path) -> bool:
    """Write an object of the cache or the remote; False: neither has it whole."""
    from dvc.config import NoRemoteError

    kept = Path(repo.cache.local.oid_to_path(digest))
    if kept.is_file():
        shutil.copyfile(kept, target)
        if _is(target, digest):
            return True
    try:
        remote = repo.cloud.get_remote_odb(command="pull")
    except NoRemoteError:
        return False
    path = remote.oid_to_path(digest)
    if not remote.fs.exists(path):
        return False
    remote.fs.get_file(path, str(target))
    return _is(target, digest)


def _is(path: Path, digest: str) -> bool:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return found == digest.removesuffix(".dir")
