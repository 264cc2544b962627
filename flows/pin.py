"""Pin: a person chooses the anchor, the version that the champion must not fall behind."""

from __future__ import annotations

from perdure.errors import UsageError
from perdure.flows import decisions
from perdure.flows.line import settle
from perdure.orchestration import model_lock
from perdure.records import Pinned
from perdure.tasks.registry import Registry
from perdure.workspace import actor, open_workspace


def pin(workspace: str, version: int, reason: str | None = None) -> Pinned:
    """Make a version the anchor until it is unpinned.

    On every arriving experience it is measured beside the champion, and takes its place when it is
    shown to be better.

    Raises:
        UsageError: There is no such version.
        Corrupt: The version's learner is incomplete. Nothing was changed.
    """
    ws = open_workspace(workspace)
    with model_lock.hold(ws, f"pin version {version}"):
        registry = Registry(ws)
        now, wanted = settle(registry), registry.version(version)
        if now.tournament.pinned == version:
            return Pinned(version, pinned=True, changed=False)
        registry.download(wanted)
        registry.apply(decisions.pinned(now, wanted, reason, actor()))
    return Pinned(version, pinned=True, changed=True)


def unpin(workspace: str) -> Pinned:
    """Let the anchor move by itself again.

    Raises:
        UsageError: No version is pinned.
    """
    ws = open_workspace(workspace)
    with model_lock.hold(ws, "unpin"):
        registry = Registry(ws)
        now = settle(registry)
        pinned = now.tournament.pinned
        if pinned is None:
            raise UsageError("no version is pinned", hint="perdure pin VERSION")
        registry.apply(decisions.unpinned(now, registry.version(pinned), actor()))
    return Pinned(pinned, pinned=False, changed=True)
