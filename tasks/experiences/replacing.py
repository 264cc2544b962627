"""Experiences that are written again without some of their rows.

A note says first which file takes which one's place, so that a command that is killed in between
leaves nothing double and nothing lost: `settle` ends what was begun, and until then the file that
goes is not listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perdure import atomic
from perdure.config import Workspace
from perdure.records import Experience
from perdure.records.data import Joined, SourceFile, Waiting
from perdure.tasks.experiences import folder
from perdure.tasks.experiences.files import writing
from perdure.tasks.experiences.folder import Digest
from perdure.tasks.experiences.in_progress import begin, replaced, unfinished

if TYPE_CHECKING:
    import pandas as pd

Mask = NDArray[np.bool_]


def plan(ws: Workspace, found: Sequence[tuple[Experience, Mask]], digest: Digest) -> dict[str, str]:
    """What each experience will be called without some rows; an empty text: no row is left.

    Args:
        ws: The workspace.
        found: Experiences, each with the rows that go, (rows,).
        digest: Gives the hash of the content.
    """
    names = {}
    for one, goes in found:
        left = folder.read_experience(ws, one.id, digest)[~goes].reset_index(drop=True)
        names[one.id] = folder.experience_id(one.number, digest(left)) if len(left) else ""
    return names


def write(
    ws: Workspace,
    found: Sequence[tuple[Experience, Mask]],
    names: dict[str, str],
    digest: Digest,
) -> None:
    """Write experiences again, and remove them as they were. Needs the data lock.

    They are to be recorded afterwards, as what an ingest adds.

    Args:
        ws: The workspace.
        found: As for `plan`.
        names: As `plan` gives them.
        digest: Gives the hash of the content.
    """
    begin(ws, [name for name in names.values() if name], names)
    for one, goes in found:
        if names[one.id]:
            left = folder.read_experience(ws, one.id, digest)[~goes].reset_index(drop=True)
            files, joined = _parts(one, goes)
            folder.rewrite(ws, one, left, digest(left), files, joined)
    settle(ws)


def settle(ws: Workspace) -> None:
    """Remove the files in whose place others are; one that was not written in time stays."""
    pairs = replaced(ws)
    if not pairs:
        return
    for old, new in pairs.items():
        if not new or (ws.experiences / f"{new}.parquet").exists():
            (ws.experiences / f"{old}.parquet").unlink(missing_ok=True)
    atomic.sync(ws.experiences)
    stay = {old for old in pairs if (ws.experiences / f"{old}.parquet").exists()}
    if stay:
        adding = [name for name in unfinished(ws) or () if name not in {pairs[one] for one in stay}]
        begin(ws, adding, {old: new for old, new in pairs.items() if old not in stay})


def write_waiting(ws: Workspace, one: Waiting, frame: pd.DataFrame, digest: Digest) -> None:
    """Write the rows of a file that waits again; without a row it waits no longer."""
    if not len(frame):
        one.path.unlink()
        atomic.sync(one.path.parent)
        return
    file = replace(one.file, rows=len(frame))
    facts: dict[str, Any] = folder.facts_of(one.path)
    facts |= {"file": folder.file_facts(file), "sha256": digest(frame)}
    with writing(ws, one.path) as part:
        folder.write_rows(frame, part, facts)


def _parts(one: Experience, goes: Mask) -> tuple[list[SourceFile], list[Joined]]:
    """What the rows that stay are: the files keep their names, for they are not to come again."""
    place = 0
    files, joined = [], []
    for file in one.files:
        left = int((~goes[place : place + file.rows]).sum())
        place += file.rows
        files.append(replace(file, rows=left))
    for part in one.joined:
        left = int((~goes[place : place + part.rows]).sum())
        place += part.rows
        joined.append(replace(part, rows=left))
    return files, joined
