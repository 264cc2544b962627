"""Put the files of a backup into a new folder, and none outside of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from perdure.errors import Corrupt
from perdure.tasks.backups.draft import TREE, files
from perdure.tasks.backups.note import Note


def unpack(backup: Path, note: Note, root: Path) -> Note:
    """Put the files of a backup into a folder.

    Args:
        backup: The backup, verified.
        note: Its note.
        root: The folder, which has no file but `.git`; of a backup of format 1 all that git has.

    Returns:
        The note as format 2 has it.

    Raises:
        Corrupt: A name in the note leads out of the folder.
        OSError: The folder cannot be written.
    """
    if note.format == 1:
        note = _unpack_format_1(backup, note, root)
    else:
        _copy(backup / TREE, root)
    for name, target in note.links.items():  # last: nothing is written through a link
        path = inside(root, name)
        if not os.path.lexists(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)
    return note


def _copy(source: Path, target: Path) -> None:
    """Copy the files of a folder; not `copytree`, which goes on where the disk is full."""
    for path in files(source):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)


def inside(folder: Path, name: str) -> Path:
    """Return the path of what a folder has by that name, which may be a link itself.

    Raises:
        Corrupt: It is not in the folder, by its name or by a link above it.
    """
    path = folder / name
    real = path.parent.resolve() / path.name
    if ".." in Path(name).parts or not real.is_relative_to(folder.resolve()):
        raise Corrupt(f"the backup names {name}, which is outside of its folder")
    return path


def _unpack_format_1(backup: Path, note: Note, root: Path) -> Note:
    """Put what was not committed over what was, and the other folders in their places."""
    outside = not (root / note.inbox).resolve().is_relative_to(root.resolve())
    waited = "inbox-restored" if outside else note.inbox
    store = note.store or ".perdure/dvc-remote"  # the first ones do not name it
    links = {str(path.relative_to(root)): path for path in files(root) if path.is_symlink()}
    targets = {n: str(path.readlink()) for n, path in links.items() if n not in note.deleted}
    for path in [*links.values(), *(inside(root, name) for name in note.deleted)]:
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
    places = {"changed": ".", "inbox": waited, "data": store, "registry": ".perdure"}
    for source, place in places.items():
        _copy(backup / source, inside(root, place))
    if note.registry is not None:
        inside(root, ".perdure/registry.id").write_text(f"{note.registry}\n", encoding="ascii")
    lacks = list(note.lacks)
    if outside and (root / waited).is_dir():
        lacks.append(f"the inbox {note.inbox}: what waited there is in {waited}/")
    kept = store if (backup / "data").is_dir() else None
    return note.model_copy(update={"links": targets, "store": kept, "lacks": lacks})
