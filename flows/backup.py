"""Back up: everything of a workspace that cannot be fetched again, also while things run.

The order is what makes the copy one that a killed workspace could be: what points is copied
before what it points to, and nothing that is pointed to is ever changed.

1. the inbox: what is taken out of it from now on is data already
2. the registry's database, then its files
3. git, then the data that its `data.dvc` names
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from perdure import __version__, manifest
from perdure.config import Workspace
from perdure.errors import Corrupt, Fault, UsageError
from perdure.flows.service import belonging, settled
from perdure.flows.workspace import open_workspace
from perdure.records.safekeeping import BackedUp
from perdure.tasks import backups, data_versions, git
from perdure.tasks.backups import Copier
from perdure.tasks.data_versions import copying as data
from perdure.tasks.git import bundles
from perdure.tasks.registry import copying as registry

BUNDLE = "repository.bundle"
CHANGED = "changed"
INBOX = "inbox"
DATABASE = f"registry/{registry.DATABASE}"
ARTIFACTS = f"registry/{registry.ARTIFACTS}"
DATA = "data"


def backup(workspace: str, place: Path, keep: int | None = None, full: bool = False) -> BackedUp:
    """Write a backup of a workspace to a folder of backups.

    Args:
        workspace: Folder of the workspace.
        place: Folder of backups, outside of the workspace; made where it is missing.
        keep: How many of the newest backups of this model stay; None: all.
        full: Copy everything anew, and link nothing of the backup before.

    Raises:
        UsageError: The place is inside the workspace.
        LockHeld: Another backup is being written there.
        Corrupt: A version's files are not what their manifest says; there is no new backup.
        Fault: There is no place, the data is incomplete, or an older backup cannot be removed.
    """
    ws = open_workspace(workspace)
    place = place.resolve()
    top = git.top(ws.root)
    if top is None:
        raise UsageError(f"{ws.root} lies in no git repository", hint=f"git init {ws.root}")
    if place.is_relative_to(top):
        raise UsageError(
            f"{place} is inside {top}, and would be lost with it",
            hint="choose a folder on another disk",
        )
    model = ws.config.model.name
    lacks: list[str] = []
    with backups.hold(place):
        with backups.begun(place, model, link=not full) as (copier, path):
            left_out = _inbox(ws, copier)
            versions, champion = _registry(ws, copier, lacks)
            head, at_head = _repository(ws, top, copier, left_out)
            store = _data(ws, copier, at_head, lacks)
            backups.sealed(
                copier,
                {
                    "perdure": __version__,
                    "model": model,
                    "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "workspace": str(ws.root),
                    "folder": ws.root.relative_to(top.resolve()).as_posix(),
                    "inbox": ws.config.data.inbox,
                    "store": store,
                    "champion": champion,
                    "registry": belonging.noted(ws),
                    "versions": versions,
                    "lacks": lacks,
                    "left_out": left_out,
                    **head,
                },
            )
            size = sum((copier.target / name).stat().st_size for name in copier.sums)
        removed = backups.prune(place, model, keep) if keep else ()
    return BackedUp(
        path=str(path),
        files=len(copier.sums),
        size=size,
        copied=copier.size,
        champion=champion,
        versions=versions,
        lacks=tuple(lacks),
        left_out=tuple(left_out),
        removed=removed,
    )


def _inbox(ws: Workspace, copier: Copier) -> list[str]:
    """Copy the files that wait; what is still being written would arrive as half a file.

    Returns:
        What is not in the backup, though it is there.
    """
    if not ws.inbox.is_dir():
        return []
    there = sorted(path for path in ws.inbox.iterdir() if not path.name.startswith("."))
    whole = set(settled.wait(there))
    left_out: list[str] = []
    for path in there:
        if path not in whole or path.is_symlink():  # a link would be refused
            left_out.append(path.name)
            continue
        name = f"{INBOX}/{path.name}"
        try:
            if not path.is_dir():
                done = copier.file(path, name)
            elif done := _batch(copier, path, name):
                left_out += [f"{path.name}/{link}" for link in backups.others(path)]
        except PermissionError:  # an ingest leaves it, too
            done = False
        if not done:
            copier.drop(name)  # of a folder: half a batch would be learned as a whole one
            left_out.append(path.name)
    inbox = ws.config.data.inbox
    return [f"{inbox}/{name}" for name in left_out if os.path.lexists(ws.inbox / name)]


def _batch(copier: Copier, path: Path, name: str) -> bool:
    """Copy a folder of the inbox; False: it is not whole, for it changes or is being ingested."""
    before = settled.seen(path)
    return not copier.tree(path, name) and settled.seen(path) == before


def _registry(ws: Workspace, copier: Copier, lacks: list[str]) -> tuple[int, int | None]:
    """The registry of the workspace itself; how many versions it has, and the champion."""
    server = registry.server(ws)
    if server is not None:
        lacks.append(
            f"the registry, which is at {server}: back up its database and its folder of artifacts"
        )
        return 0, None
    if not registry.database(ws, copier.target / DATABASE):
        return 0, None
    copier.wrote(DATABASE)
    copier.tree(ws.state / registry.ARTIFACTS, ARTIFACTS)
    found = registry.versions(copier.target / DATABASE, ws.config.model.name)
    for number, below in found.items():
        _check(copier, number, f"{ARTIFACTS}/{below}")
    return len(found), registry.champion(copier.target / DATABASE, ws.config.model.name)


def _check(copier: Copier, number: int, folder: str) -> None:
    """A version that is not whole is told now, and not when the backup is needed."""
    inside = sorted((copier.target / folder).glob(f"data/*/{manifest.NAME}"))
    if len(inside) != 1:
        raise Corrupt(
            f"version {number} has {len(inside)} version folders in {folder}; it needs one",
            hint="perdure doctor",
        )
    name = inside[0].relative_to(copier.target).as_posix()
    if name in copier.copied:  # else the backup before has it, which was looked at
        manifest.verify(inside[0].parent)


def _repository(
    ws: Workspace, top: Path, copier: Copier, left_out: list[str]
) -> tuple[dict[str, object], str | None]:
    """Git's history, and what is not committed; also `data.dvc` as the commit has it."""
    refs = bundles.refs(top)
    before = backups.note(copier.before) if copier.before is not None else {}
    if before.get("refs") != refs or not copier.again(BUNDLE):
        bundles.bundle(top, copier.target / BUNDLE)
        copier.wrote(BUNDLE)
    head = refs.splitlines()[-1]
    changed = bundles.changed(ws.root)
    own = {data_versions.pointer(ws).relative_to(ws.root).as_posix()}
    inbox = f"{ws.config.data.inbox}/"
    left_out += [name for name in changed.others if not name.startswith(inbox)]
    for name in changed.files:
        if name in own or name.startswith(inbox):
            continue
        try:
            done = copier.file(ws.root / name, f"{CHANGED}/{name}")
        except PermissionError:  # one of somebody else's must not be the end of all backups
            done = False
        if not done and (ws.root / name).exists():
            left_out.append(name)
    said: dict[str, object] = {
        "refs": refs,
        "head": head,
        "branch": bundles.on_branch(top),
        "remotes": bundles.remotes(top),
        "deleted": [name for name in changed.gone if name not in own],
    }
    return said, git.at(ws.root, head, data_versions.pointer(ws))


def _data(ws: Workspace, copier: Copier, pointer: str | None, lacks: list[str]) -> str | None:
    """The default DVC remote, if it lies in the workspace, and all that the commit names.

    Returns:
        The remote's folder, from the workspace; None: it lies elsewhere.
    """
    elsewhere = data.elsewhere(ws)
    if elsewhere is not None:
        lacks.append(f"the data, which the DVC remote {elsewhere} has")
        return None
    store = data.store(ws)
    below = store.relative_to(ws.root).as_posix()
    for path, name in backups.files(store / data.OBJECTS):
        copier.file(path, f"{DATA}/{data.OBJECTS.as_posix()}/{name}", data.is_whole)
    if pointer is None:
        return below
    kept = copier.target / DATA
    for name in data.objects_of(pointer, kept):
        if (kept / name).exists():
            continue
        found = any(  # a push may just be under way
            copier.file(folder / name, f"{DATA}/{name}", data.is_whole)
            for folder in (store, data.cache(ws))
        )
        if not found:
            raise Fault(
                f"the data lacks {name} in the DVC remote and in the cache; there is no backup",
                hint="dvc status; perdure doctor",
            )
    return below
