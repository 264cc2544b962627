"""Trace: which versions learned from a file or an experience, and what a version learned from.

Reads only, and waits for no lock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from perdure import escaping
from perdure.config import Workspace
from perdure.errors import UsageError
from perdure.flows.inbox import waiting
from perdure.records import Experience, Registered, Version
from perdure.records.data import FileRows
from perdure.records.provenance import State, Traced, TracedExperience, TracedVersion, WaitingRows
from perdure.tasks import data_versions, experiences
from perdure.tasks.registry import Registry
from perdure.workspace import open_workspace

_VERSION = re.compile(r"v?(\d{1,9})")


def trace(workspace: str, asked: str) -> Traced:
    """What came of a file or an experience, or what a version came of.

    Args:
        workspace: Folder of the workspace.
        asked: A number is a version; the id of an experience; else the name of a file as it came,
            without its folder.

    Raises:
        UsageError: None of them is known.
    """
    ws = open_workspace(workspace)
    registry = Registry(ws)
    now, versions = registry.read(), registry.versions()
    found = experiences.list_experiences(ws)
    arrived = {one.id: one for one in found}
    if number := _VERSION.fullmatch(asked):
        wanted = registry.version(int(number[1]))
        traced = _experiences(wanted.cursor, arrived, now, versions)
        return Traced(asked, "version", traced, _versions([wanted], now), (), ())
    cursors = {id_ for version in versions for id_ in version.cursor}
    if asked in arrived or asked in cursors or asked in now.held:
        traced, learned = _learned([asked], arrived, now, versions)
        return Traced(asked, "experience", traced, learned, (), ())
    return _file(ws, asked, found, now, versions)


def _file(
    ws: Workspace,
    asked: str,
    arrived: Sequence[Experience],
    now: Registered,
    versions: Sequence[Version],
) -> Traced:
    """What came of a file of a name, which may have been delivered more than once."""
    name = escaping.printable(Path(asked).name)
    small = experiences.waiting_files(ws, arrived)
    sources = [one for experience in arrived for one in experience.files if one.name == name]
    sources += [one.file for one in small if one.file.name == name]
    contents = {one.content for one in sources}
    ids = [
        one.id
        for one in arrived
        # Rows of a class that was set aside may have joined another experience.
        if any(file.name == name for file in one.files)
        or any(joined.content in contents for joined in one.joined)
    ]
    refused = tuple(one for one in experiences.list_quarantined(ws) if one.file == name)
    waits = [
        WaitingRows(one.file.name, one.file.rows, one.since) for one in small
        if one.file.name == name
    ]  # fmt: skip
    waits += [
        WaitingRows(name, None, None) for path in waiting(ws)
        if escaping.printable(path.name) == name
    ]  # fmt: skip
    if not ids and not refused and not waits:
        absent = data_versions.missing(ws)
        raise UsageError(
            f"nothing is known of {asked!r}: it is no version, no experience, and no file that "
            "came in" + ("; the data is not on this machine" if absent else ""),
            hint="dvc pull, then try again" if absent else "perdure history, perdure status",
        )
    traced, learned = _learned(ids, {one.id: one for one in arrived}, now, versions)
    return Traced(asked, "file", traced, learned, refused, tuple(waits))


def _learned(
    ids: Sequence[str],
    arrived: Mapping[str, Experience],
    now: Registered,
    versions: Sequence[Version],
) -> tuple[tuple[TracedExperience, ...], tuple[TracedVersion, ...]]:
    """Experiences, and every version that learned from one of them."""
    learned = [one for one in versions if not set(ids).isdisjoint(one.cursor)]
    return _experiences(ids, arrived, now, versions), _versions(learned, now)


def _experiences(
    ids: Iterable[str],
    arrived: Mapping[str, Experience],
    now: Registered,
    versions: Sequence[Version],
) -> tuple[TracedExperience, ...]:
    return tuple(_experience(id_, arrived.get(id_), now, versions) for id_ in ids)


def _experience(
    id_: str, found: Experience | None, now: Registered, versions: Sequence[Version]
) -> TracedExperience:
    held, learned = now.held.get(id_), now.challenger.cursor if now.challenger else ()
    state: State = "learned" if id_ in learned else "pending"
    if held is not None:
        state = "quarantined" if held.quarantined else "held"
    return TracedExperience(
        id=id_,
        state=state,
        reasons=held.reasons if held else (),
        rows=found.rows if found else None,
        files=tuple(FileRows(one.name, one.rows) for one in found.files) if found else (),
        versions=tuple(one.version for one in versions if id_ in one.cursor),
    )


def _versions(found: Iterable[Version], now: Registered) -> tuple[TracedVersion, ...]:
    return tuple(
        TracedVersion(
            one.version,
            one.experience,
            one.verdict,
            tuple(alias for alias, number in now.aliases.items() if number == one.version),
            one.created_at,
        )
        for one in found
    )
