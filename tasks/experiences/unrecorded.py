"""What lies in the data folder and is recorded nowhere yet steps aside while others' data comes.

It lies in `.perdure/aside` meanwhile, and comes back with numbers after theirs. Cut short in
between, both halves can be done again.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from perdure import atomic
from perdure.config import Workspace
from perdure.errors import Corrupt
from perdure.records import Experience
from perdure.records.data import SourceFile, Waiting
from perdure.tasks.experiences import folder, gathering
from perdure.tasks.experiences.in_progress import begin, unfinished
from perdure.tasks.experiences.quarantine import RECORD, put_back

if TYPE_CHECKING:
    import pandas as pd

_PARTIAL = re.compile(r"\.[A-Za-z0-9_-]{16,}\.tmp$")
"""What DVC leaves of a file that it was fetching when it was killed."""


def set_aside(ws: Workspace, recorded: Collection[str] | None) -> None:
    """Take out of the data folder what is not recorded.

    Args:
        ws: The workspace.
        recorded: The recorded files, relative to the data folder. None: unknown; all of
            them step aside, and those that come with the data are dropped again.
    """
    known = frozenset(recorded or ())
    for name in list(_unrecorded(ws.data, known)):
        target = _aside(ws) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():  # from an earlier time that was cut short
            shutil.rmtree(target)
        (ws.data / name).replace(target)
        atomic.sync(target.parent)


def bring_back(ws: Workspace, digest: folder.Digest) -> dict[str, str]:
    """Put back what stepped aside: content that is recorded by now is dropped.

    What comes back counts as being added, under a new number. Rows that are in one of those
    experiences, and by now in another one that is recorded, are taken out of it; where too few are
    left to be an experience, they wait again.

    Args:
        ws: The workspace.
        digest: Gives the hash of the content.

    Returns:
        What each experience that stepped aside is called now; an empty text: its rows wait.

    Raises:
        Corrupt: One of them cannot be read.
    """
    place = _aside(ws)
    if not place.exists():
        return {}
    changed = _in_once(ws, place, digest)
    renamed, added = _plan(ws, folder.files_in(place / ws.experiences.name))
    renamed |= {old: renamed.get(new, new) for old, new in changed.items()}
    refused = sorted(path.parent for path in (place / ws.quarantine.name).glob(f"*/{RECORD}"))
    small = gathering.files_in(place / ws.waiting.name)
    if added or refused or small or unfinished(ws) is not None:
        before = [
            id_ for id_ in unfinished(ws) or () if (ws.experiences / f"{id_}.parquet").exists()
        ]
        begin(ws, tuple(dict.fromkeys([*before, *(path.stem for path in added.values())])))
    for file, target in added.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
        atomic.sync(target.parent)
    _put_back_waiting(ws, small)
    for one in refused:
        put_back(ws, one)
    _put_back_others(ws, place)
    shutil.rmtree(place)
    if unfinished(ws) is not None:
        gathering.clear_joined(ws)
    return renamed


def _plan(ws: Workspace, files: list[Path]) -> tuple[dict[str, str], dict[Path, Path]]:
    """The new names of experiences, and where their files go."""
    known = list(folder.list_experiences(ws))
    renamed: dict[str, str] = {}
    added: dict[Path, Path] = {}
    for file in files:
        if (ws.experiences / file.name).exists():  # the name says number and content
            renamed[file.stem] = file.stem
            continue
        one = _read(file)
        same = folder.find(known, one.sha256, *one.contents)
        if same is None:
            number = folder.next_number(known)
            id_ = folder.experience_id(number, one.sha256)
            target = ws.experiences / f"{id_}.parquet"
            same = replace(one, id=id_, number=number, path=target)
            known.append(same)
            added[file] = target
        renamed[one.id] = same.id
    return renamed, added


def _in_once(ws: Workspace, place: Path, digest: folder.Digest) -> dict[str, str]:
    """Write again what has rows that are in a recorded experience meanwhile.

    Returns:
        What each experience that was written again was called, and is called now; an empty text:
        too few rows are left, and wait.
    """
    files = [_read(file) for file in folder.files_in(place / ws.experiences.name)]
    if not any(one.joined or len(one.files) > 1 for one in files):
        return {}
    import pandas as pd

    recorded = folder.list_experiences(ws)
    there = {content for e in recorded for content in e.contents}
    joined_there = {(one.content, one.label) for e in recorded for one in e.joined}
    changed: dict[str, str] = {}
    for one in files:
        left = [file for file in one.files if file.content not in there]
        joined = [part for part in one.joined if (part.content, part.label) not in joined_there]
        whole = (len(left), len(joined)) == (len(one.files), len(one.joined))
        if whole or not left or folder.find(recorded, one.sha256):
            continue
        parts, more = gathering.without(
            folder.read_rows(one.path),
            one,
            {file.content for file in left},
            {(part.content, part.label) for part in joined},
        )
        enough = sum(file.rows for file in left) >= ws.config.data.min_rows
        if enough or len(left) == len(one.files):
            rows = pd.concat([*parts, more], ignore_index=True)
            changed[one.id] = folder.rewrite(ws, one, rows, digest(rows), left, joined).stem
        else:
            _wait_again(ws, place, one, list(zip(left, parts, strict=True)), digest)
            changed[one.id] = ""
        one.path.unlink()
    return changed


def _wait_again(
    ws: Workspace,
    place: Path,
    one: Experience,
    parts: list[tuple[SourceFile, pd.DataFrame]],
    digest: folder.Digest,
) -> None:
    """Let the rows of files wait that no longer make an experience."""
    form = str(folder.facts_of(one.path)["form"])
    target = ws.config.data.target
    for number, (file, rows) in enumerate(parts, 1):
        classes = sorted(set(one.classes or ()) & set(rows[target].tolist()))
        gathering.write_waiting(
            ws, place / ws.waiting.name, number, rows, digest(rows), file, form, classes
        )


def _put_back_waiting(ws: Workspace, small: list[Waiting]) -> None:
    """Put files whose rows wait after those that are recorded; content that is there is dropped."""
    inside = {content for e in folder.list_experiences(ws) for content in e.contents}
    for one in small:
        there = gathering.files_in(ws.waiting)
        content = one.file.content
        if content in inside or content in {other.file.content for other in there}:
            one.path.unlink()
            continue
        ws.waiting.mkdir(parents=True, exist_ok=True)
        id_ = folder.experience_id(gathering.next_place(there), content)
        one.path.replace(ws.waiting / f"{id_}.parquet")
        atomic.sync(ws.waiting)


def _read(file: Path) -> Experience:
    try:
        return folder.of_file(file)
    except Corrupt as error:
        raise Corrupt(error.message, hint=f"rm {file}, then ingest where it came from") from error


def _put_back_others(ws: Workspace, place: Path) -> None:
    """Put back files that another program wrote into the folder, such as a file manager."""
    ours = set(folder.files_in(place / ws.experiences.name))
    for file in sorted(path for path in place.rglob("*") if path.is_file() or path.is_symlink()):
        if file in ours or _PARTIAL.search(file.name):
            continue
        target = wanted = ws.data / file.relative_to(place)
        number = 1
        while target.exists():
            if not target.is_dir() and target.read_bytes() == file.read_bytes():
                break
            number += 1
            target = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)


def _unrecorded(data: Path, known: frozenset[str]) -> Iterator[str]:
    """Files that are not recorded, and whole folders of the quarantine of which none is."""
    folders = {"/".join(name.split("/")[:2]) for name in known}
    whole: set[str] = set()
    for path in sorted(data.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        name = path.relative_to(data).as_posix()
        above = "/".join(name.split("/")[:2])
        if name.startswith("quarantine/") and above != name and above not in folders:
            if above not in whole:
                yield above
            whole.add(above)
        elif name not in known:
            yield name


def _aside(ws: Workspace) -> Path:
    return ws.state / "aside"
