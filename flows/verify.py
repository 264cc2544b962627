"""Verify: whether a version is what was registered, and comes from where it says.

Reads only, and waits for no lock. Nothing that is not whole is loaded.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from perdure.config import Workspace
from perdure.errors import Corrupt, PerdureError, Unreachable, UsageError
from perdure.flows.served import SERVES, moves
from perdure.records import Check, Event, Registered, Version
from perdure.records.provenance import Verified
from perdure.secrets import in_text
from perdure.tasks import data_versions, git, packaging
from perdure.tasks.registry import Registry
from perdure.workspace import open_workspace

logger = logging.getLogger("perdure")

_ELSE = "perdure rollback --to VERSION chooses another version; do not serve this one"
_OLDER = "an older Perdure registered it"


def verify(workspace: str, number: int | None = None) -> Verified:
    """Compare a version with the registry, and what is in it with each other.

    Args:
        workspace: Folder of the workspace.
        number: The version; None: the champion.

    Returns:
        One check each, with what was found.

    Raises:
        UsageError: There is no such version, or no champion.
        Unreachable: MLflow does not answer.
    """
    ws = open_workspace(workspace)
    registry = Registry(ws)
    now = registry.read()
    if number is None and now.champion is None:
        raise UsageError("there is no champion to verify", hint="perdure verify VERSION")
    version = registry.version(number) if number is not None else now.champion
    assert version is not None
    with tempfile.TemporaryDirectory(prefix="perdure-verify-") as place:
        checks = tuple(_checks(ws, registry, now, version, Path(place)))
    return Verified(version.version, all(check.ok for check in checks), checks)


def _checks(
    ws: Workspace, registry: Registry, now: Registered, version: Version, place: Path
) -> Iterator[Check]:
    yield _try("package", lambda: _package(registry, version))
    try:
        folder = registry.as_now(version, place)
    except Corrupt as error:
        yield Check("files", False, error.message, _ELSE)
    else:
        files = _try("files", lambda: _files(registry, folder, version))
        yield files
        yield _try("learner", lambda: _learner(registry, folder, version))
        yield _try("contents", lambda: _contents(folder))
        if files.ok:
            yield _try("graph", lambda: _graph(ws, folder))
        else:
            yield Check("graph", False, "not run, for the files are not whole", _ELSE)
    events = registry.history()
    known = {one.version: one for one in registry.versions()}
    removed = {one.version: one.at for one in events if one.action == "removed"}
    yield _try("lineage", lambda: _lineage(version, known, removed))
    yield _try("data", lambda: _data(ws, version))
    yield _try("aliases", lambda: _aliases(registry, now, version, events))


def _try(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except Unreachable:
        raise
    except PerdureError as error:
        return Check(name, False, error.message, error.hint or _ELSE)
    except Exception as error:  # what was tampered with may break in any way
        logger.debug("The check %s failed", name, exc_info=True)
        return Check(name, False, in_text(f"{type(error).__name__}: {error}")[:500], _ELSE)


def _package(registry: Registry, version: Version) -> str:
    registry.check(version)
    if version.package_sha256 is None:
        return f"MLmodel names Perdure's loader and no code; {_OLDER}, without a digest"
    return f"MLmodel and what lies beside it are as registered, {version.package_sha256[:8]}"


def _files(registry: Registry, folder: Path, version: Version) -> str:
    registry.check_files(folder, version)
    if version.manifest_sha256 is None:
        return f"every file is as in the manifest; {_OLDER}, without a digest of that"
    return (
        f"every file is as in the manifest, and that as registered, {version.manifest_sha256[:8]}"
    )


def _learner(registry: Registry, folder: Path, version: Version) -> str:
    registry.check_learner(folder, version)
    return (
        f"weights {version.weights_sha256[:8]}, state {version.state_sha256[:8]}, cursor of "
        f"{len(version.cursor)}, as registered"
    )


def _contents(folder: Path) -> str:
    packaging.look(folder)
    rows = packaging.rows_in(folder)
    return (
        f"features are the learner's; {len(rows):,} evaluation rows, and the numbers of the gates"
    )


def _graph(ws: Workspace, folder: Path) -> str:
    rows = packaging.compare(ws, folder)
    return f"the exported graph gives the learner's outputs on {rows:,} evaluation rows"


def _lineage(
    version: Version, known: Mapping[int, Version], removed: Mapping[int | None, str]
) -> str:
    """The versions that it goes on from: each has the cursor of the one before, and one more."""
    found = [version]
    while (parent := found[-1].parent) is not None:
        child = found[-1]
        if parent >= child.version:
            raise Corrupt(f"version {child.version} names version {parent} as its parent")
        if (one := known.get(parent)) is None:
            break
        if child.cursor != (*one.cursor, child.experience):
            raise Corrupt(
                f"version {child.version} learned {child.experience} after version {parent}, but "
                "its cursor is not that version's with it"
            )
        found.append(one)
    first, numbers = found[-1], ", ".join(str(one.version) for one in reversed(found[-10:]))
    line = f"version{'s' if len(found) > 1 else ''} {'… ' if len(found) > 10 else ''}{numbers}"
    if first.parent is not None:
        if first.parent not in removed:
            raise Corrupt(
                f"{line}; version {first.parent} before is not in the registry, and the history "
                "does not say that it was removed"
            )
        return f"{line}; version {first.parent} before was removed on {removed[first.parent][:10]}"
    if first.cursor != (first.experience,):
        raise Corrupt(f"version {first.version} has no parent, but learned {len(first.cursor)}")
    return f"{line}, from the first on"


def _data(ws: Workspace, version: Version) -> str:
    commit, dvc = version.data.git, version.data.dvc
    if commit is None or dvc is None:
        return "not recorded: it was learned from data that git did not know"
    if not git.has(ws.root, commit):
        raise Corrupt(
            f"the commit {commit[:12]} of its data is not in this branch",
            hint="git fetch, or git log --all: the branch was changed, or this is another clone",
        )
    pointer = data_versions.pointer(ws)
    if data_versions.revision_in(git.at(ws.root, commit, pointer)) != dvc:
        raise Corrupt(f"{pointer.name} at the commit {commit[:12]} names other data than {dvc}")
    names = data_versions.listed(ws, dvc)
    if names is None:
        return f"git {commit[:8]} names dvc {dvc[:8]}, whose listing is not on this machine"
    if f"experiences/{version.experience}.parquet" not in names:
        raise Corrupt(f"the data at the commit {commit[:12]} has no {version.experience}")
    return f"git {commit[:8]} names dvc {dvc[:8]}, which has {version.experience}"


def _aliases(registry: Registry, now: Registered, version: Version, events: Sequence[Event]) -> str:
    """Whether aliases, what it replaced, and the history say the same."""
    after = registry.read()
    if after.changing or after.aliases != now.aliases:
        return "a change is under way: not compared"
    if now.moved:
        raise Corrupt(
            f"{' and '.join(now.moved)} was moved in MLflow, and that is not recorded",
            hint="perdure retrain records it",
        )
    here = _v(version.replaced)
    promoted = [e for e in events if e.version == version.version and e.action in SERVES[:2]]
    if promoted and promoted[-1].replaced != version.replaced:
        there = _v(promoted[-1].replaced)
        raise Corrupt(f"it says that it replaced {here}, the history {there}")
    if version.replaced is not None and not promoted:
        raise Corrupt(f"it says that it replaced {here}, the history nothing")
    champion = now.champion.version if now.champion else None
    served = [one.version for one in moves(events)]
    if version.version == champion and served[-1:] != [champion]:
        raise Corrupt(
            f"it is the champion, but by the history {_v(served[-1] if served else None)}"
        )
    names = [alias for alias, number in now.aliases.items() if number == version.version]
    before = "" if version.replaced is None else f"; it replaced {here}"
    standing = ", ".join(names) if names else "no alias stands on it"
    return (
        f"{standing}{before or ('; it replaced none' if promoted else '; it was never promoted')}"
    )


def _v(number: int | None) -> str:
    return "none" if number is None else f"version {number}"
