"""What the default remote has of the data: DVC takes a listing there for all of its files.

So do its index and a later push. What lacks after a process was killed is found here by asking the
remote for each object, and pushed again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure.config import Workspace
from perdure.tasks.data_versions import listing
from perdure.tasks.data_versions.client import quietly, remotely, use
from perdure.tasks.data_versions.pointer import revision

if TYPE_CHECKING:
    from dvc.repo import Repo


def lacking(ws: Workspace) -> tuple[str, ...]:
    """The files of the data, by name, whose objects the default remote has not got.

    None where this clone does not know what the files are, or where all would lack because nothing
    was recorded yet.

    Raises:
        Unreachable: The remote does not answer.
    """
    recorded = revision(ws)
    names = _names(ws, recorded)
    if recorded is None or not names:
        return ()
    wanted = {*names.values(), recorded}
    with quietly() as logged, remotely(ws, logged):
        there = set(use(ws.root, lambda repo: _remote(repo).oids_exist(list(wanted))))
    whole = recorded in there
    return tuple(sorted(name for name, oid in names.items() if not whole or oid not in there))


def doubt(ws: Workspace) -> None:
    """Have the next push look at each object, and not at the listing or at DVC's index."""
    use(ws.root, lambda repo: _doubt(repo, str(revision(ws))))


def drop_half_written(ws: Workspace, remote: Path) -> None:
    """Remove objects from a local remote that a kill left half-written, so that a push makes them.

    DVC makes an object empty under its last name, tries to reflink it, and removes it again where
    the file system cannot (dvc-objects 5, `fs/generic.py`). Killed in between it leaves the empty
    one. Where an object lacks, the listing goes, too.
    """
    recorded = revision(ws)
    if recorded is None:
        return
    names = _names(ws, recorded)
    broken = [one for one in {*names.values(), recorded} if _is_broken(ws, remote, one)]
    for one in broken:
        (remote / listing.place(one)).unlink(missing_ok=True)
    pushed = remote / listing.place(recorded)
    lacks = any(not (remote / listing.place(one)).exists() for one in names.values())
    if broken or (lacks and pushed.exists()):
        doubt(ws)


def _names(ws: Workspace, recorded: str | None) -> dict[str, str]:
    """The objects of the data by the names of their files, as far as the cache says."""
    if recorded is None:
        return {}
    place = ws.root / listing.CACHE / listing.place(recorded)
    return dict(listing.read(place, recorded) or {})


def _remote(repo: Repo) -> Any:
    return repo.cloud.get_remote_odb(command="push")


def _doubt(repo: Repo, recorded: str) -> None:
    from dvc_data.hashfile.db import get_index

    remote = _remote(repo)
    if remote.exists(recorded):
        remote.delete(recorded)
    get_index(remote).clear()


def _is_broken(ws: Workspace, remote: Path, digest: str) -> bool:
    """Whether the remote has an object of another size than the cache, which can make it again."""
    there, here = (folder / listing.place(digest) for folder in (remote, ws.root / listing.CACHE))
    both = there.exists() and here.exists()
    return both and there.stat().st_size != here.stat().st_size
