"""Back up: everything of a workspace that cannot be fetched again, also while things run.

A backup is the tree of the workspace's files, beside git's history in one file. The order makes
it a state that a killed workspace could have: what points is copied before what it points to, and
nothing that is pointed to is ever changed. Versions are not removed while the registry is copied.

1. the inbox: what is taken out of it from now on is data already
2. the registry's database, then its files
3. git, then the data that its `data.dvc` names
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from perdure import __version__, escaping, manifest, untrusted_folder
from perdure.config import Workspace
from perdure.errors import Fault, UsageError
from perdure.orchestration import registry_identity
from perdure.records.safekeeping import BackedUp
from perdure.tasks import backups, data_versions, git, locks, write_complete
from perdure.tasks.backups import BUNDLE, TREE, Draft, Note
from perdure.tasks.data_versions import copying as data
from perdure.tasks.data_versions.listing import OBJECTS
from perdure.tasks.git import bundles
from perdure.tasks.registry import copying as registry
from perdure.workspace import open_workspace

REMOVAL_S = 600.0
"""How long a backup waits while versions are removed."""


def backup(workspace: str, place: Path, keep: int | None = None, full: bool = False) -> BackedUp:
    """Write a backup of a workspace to a folder of backups.

    Args:
        workspace: Folder of the workspace.
        place: Folder of backups, outside of the workspace; made where it is missing.
        keep: How many of the newest backups of this model stay; None: all.
        full: Copy everything again, and link nothing of the backup before.

    Raises:
        UsageError: The workspace lies in no repository, or the place inside of it.
        LockHeld: Another backup is being written there, or versions are removed for ten minutes.
        Corrupt: A version's files are not what their manifest says; there is no new backup.
        Fault: The place cannot be written, or the data is incomplete.
    """
    ws = open_workspace(workspace)
    top = git.top(ws.root)
    if top is None:
        raise UsageError(f"{ws.root} lies in no git repository", hint=f"git init {ws.root}")
    top, place = top.resolve(), place.resolve()
    if place.is_relative_to(top):
        raise UsageError(
            f"{place} is inside {top}, and would be lost with it",
            hint="choose a folder on another disk",
        )
    with backups.writing(place, ws.config.model.name, link=not full, keep=keep) as draft:
        inbox = _inbox(ws, draft)
        with locks.hold(ws, "versions", "backup", wait_s=REMOVAL_S):
            versions, champion = _registry(ws, draft)
        head = bundles.bundle(top, draft.folder / BUNDLE)
        links = _files(ws, draft, inbox)
        store = _data(ws, draft, head)
        note = Note(
            format=2,
            model=ws.config.model.name,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            perdure=__version__,
            folder=ws.root.relative_to(top).as_posix(),
            store=store,
            champion=champion,
            versions=versions,
            lacks=draft.lacks,
            left_out=draft.left_out,
            head=head,
            branch=bundles.on_branch(top),
            remotes=bundles.remotes(top),
            links=links,
        )
        sizes = draft.seal(note)
    return BackedUp(
        path=str(place / draft.name),
        files=len(sizes),
        size=sum(sizes.values()),
        copied=sum(size for name, size in sizes.items() if name not in draft.linked),
        champion=champion,
        versions=versions,
        lacks=tuple(draft.lacks),
        left_out=tuple(draft.left_out),
        removed=tuple(draft.removed),
    )


def _inbox(ws: Workspace, draft: Draft) -> str:
    """Copy the files that wait, but for those that are still being written.

    Returns:
        The inbox's name in the tree. One outside of the workspace becomes another folder in it,
        for a restore must not write to where it is.
    """
    inbox = ws.inbox.resolve()
    is_outside = not inbox.is_relative_to(ws.root)
    name = f"inbox-{draft.name}" if is_outside else inbox.relative_to(ws.root).as_posix()
    there = sorted(path for path in inbox.glob("*") if not path.name.startswith("."))
    complete = set(write_complete.wait(there))
    done = {
        path
        for path in there
        if path in complete and _waiting(draft, path, f"{TREE}/{name}/{path.name}")
    }
    draft.left_out.extend(
        f"{ws.config.data.inbox}/{escaping.printable(path.name)}"
        for path in there
        if path not in done and os.path.lexists(path)
    )
    if is_outside and done:
        draft.lacks.append(
            f"the inbox {ws.config.data.inbox}, outside of the workspace: what waited there is in "
            f"{name}/; perdure ingest {name}/* takes it"
        )
    return name


def _waiting(draft: Draft, path: Path, name: str) -> bool:
    """Copy a file or a folder of the inbox; half a folder would be learned as a whole one.

    Returns:
        Whether all of it is in the backup. It is not where it changes, is being ingested, has a
        link in it, or may not be read.
    """
    try:
        if path.is_symlink() or not path.is_dir():
            return draft.add(path, name)
        before = untrusted_folder.entries(path)
        copied = all(draft.add(path / one.name, f"{name}/{one.name}") for one in before)
        if copied and untrusted_folder.entries(path) == before:
            return True
    except (FileNotFoundError, PermissionError):  # an ingest leaves it, too
        pass
    shutil.rmtree(draft.folder / name, ignore_errors=True)
    return False


def _registry(ws: Workspace, draft: Draft) -> tuple[int, int | None]:
    """Copy the registry of the workspace itself; return how many versions, and the champion."""
    state = f"{TREE}/{ws.state.name}"
    identity = registry_identity.place(ws)
    draft.add(identity, f"{state}/{identity.name}")
    server = registry.server(ws)
    if server is not None:
        draft.lacks.append(
            f"the registry, which is at {server}: back up its database and its folder of artifacts"
        )
        return 0, None
    database = draft.folder / state / registry.DATABASE
    if not registry.database(ws, database):
        return 0, None
    for path in backups.files(ws.state / registry.ARTIFACTS):
        draft.add(path, f"{state}/{path.relative_to(ws.state).as_posix()}")
    folders = registry.version_folders(database, ws.config.model.name)
    for folder in folders:  # now, and not when the backup is needed
        name = (folder / manifest.NAME).relative_to(draft.folder).as_posix()
        if name not in draft.linked:
            manifest.verify(folder)
    return len(folders), registry.champion(database, ws.config.model.name)


def _files(ws: Workspace, draft: Draft, inbox: str) -> dict[str, str]:
    """Copy what git does not ignore, committed or not; return the links with their targets."""
    links = {}
    names, closed = bundles.listed(ws.root)
    pointer = data_versions.pointer(ws).relative_to(ws.root).as_posix()
    for name in names:
        path = ws.root / name
        waits = name.startswith(f"{inbox}/") and not name.startswith(f"{inbox}/.")
        if waits or name == pointer or name.startswith(f"{ws.state.name}/"):
            continue  # another step copies it
        if path.parent.resolve() != path.parent:
            continue  # it lies behind a link, and the link is copied
        try:
            if path.is_symlink():
                links[name] = str(path.readlink())
            elif not draft.add(path, f"{TREE}/{name}") and path.exists():
                draft.left_out.append(escaping.printable(name))
        except PermissionError:  # another user's file must not end all backups
            draft.left_out.append(escaping.printable(name))
    draft.left_out.extend(map(escaping.printable, closed))
    return links


def _data(ws: Workspace, draft: Draft, head: str) -> str | None:
    """Copy `data.dvc` as the commit has it, and the DVC remote with all that it names.

    Returns:
        The remote's folder, from the workspace; None: it lies elsewhere.
    """
    tree = draft.folder / TREE
    pointer = git.at(ws.root, head, data_versions.pointer(ws))
    if pointer is not None:
        copy = tree / data_versions.pointer(ws).relative_to(ws.root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(pointer, encoding="utf-8")
    elsewhere = data.elsewhere(ws)
    if elsewhere is not None:
        draft.lacks.append(f"the data, which the DVC remote {elsewhere} has")
        return None
    store = data.store(ws)
    below = store.relative_to(ws.root).as_posix()
    for path in backups.files(store / OBJECTS):
        draft.add(path, f"{TREE}/{below}/{path.relative_to(store).as_posix()}", data.is_whole)
    for name in data.objects_of(pointer, tree / below) if pointer is not None else ():
        target = f"{TREE}/{below}/{name}"
        if (
            not (draft.folder / target).exists()
            and not draft.add(store / name, target, data.is_whole)  # it has just been pushed
            and not draft.add(data.cache(ws) / name, target, data.is_whole)
        ):
            raise Fault(
                f"the data lacks {name} in the DVC remote and in the cache; there is no backup",
                hint="dvc status; perdure doctor",
            )
    return below
