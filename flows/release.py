"""Release and quarantine: a person says what may be learned from."""

from __future__ import annotations

from perdure.config import Workspace
from perdure.errors import LockHeld, Refusal, UsageError
from perdure.flows import decisions, ingest
from perdure.flows.line import settle
from perdure.orchestration import model_lock
from perdure.records import SetAside
from perdure.tasks import experiences
from perdure.tasks.registry import Registry
from perdure.workspace import actor, open_workspace


def release(workspace: str, ids: list[str], reason: str | None = None) -> SetAside:
    """Make held experiences pending again.

    Raises:
        UsageError: One of them is not held; nothing was changed.
    """
    ws = open_workspace(workspace)
    with model_lock.hold(ws, "release"):
        registry = Registry(ws)
        held = settle(registry).held
        unknown = [id_ for id_ in ids if id_ not in held]
        if unknown:
            _not_waiting(ws, unknown)
            raise UsageError(
                f"not held: {', '.join(unknown)}",
                hint="perdure status; a file refused at the door is mended and ingested again",
            )
        chosen = list(dict.fromkeys(ids))
        registry.apply(decisions.released(chosen, reason, actor()))
    return SetAside(tuple(chosen))


def quarantine(workspace: str, ids: list[str], reason: str) -> SetAside:
    """Set experiences aside by hand.

    Raises:
        UsageError: There is no such experience, on any machine; nothing was changed.
        Unreachable: Only another machine may know it, and a remote does not answer.
        Refusal: A model that serves has learned one of them; nothing was changed.
    """
    ws = open_workspace(workspace)
    with model_lock.hold(ws, "quarantine"):
        registry = Registry(ws)
        now = settle(registry)
        chosen = list(dict.fromkeys(ids))
        _known(ws, chosen)
        for version in (now.challenger, now.champion):
            if version and (learned := set(chosen) & set(version.cursor)):
                raise Refusal(
                    f"version {version.version} has learned {', '.join(sorted(learned))}",
                    hint="perdure history, then perdure rollback --to an older VERSION",
                )
        registry.apply(decisions.quarantined(chosen, reason, actor()))
    return SetAside(tuple(chosen))


def _known(ws: Workspace, ids: list[str]) -> None:
    """Make sure that there are such experiences; another machine may have published them.

    What is recorded here keeps its id for ever. So the remotes are asked only of what is not:
    bad data must be set aside while they are away, too.
    """
    unknown = _unknown(ws, ids)
    if not unknown:
        return
    if not ingest.complete(ws):
        raise LockHeld(
            f"an ingest is at work, and may bring {', '.join(unknown)}; nothing was changed",
            hint="run the command again when it is done",
        )
    if unknown := _unknown(ws, ids):
        _not_waiting(ws, unknown)
        raise UsageError(f"no such experience: {', '.join(unknown)}", hint="perdure status")


def _not_waiting(ws: Workspace, ids: list[str]) -> None:
    """Refuse the name of a file that waits for more rows: it is no experience yet."""
    for one in experiences.waiting_files(ws, experiences.list_experiences(ws)):
        if one.file.name in ids:
            raise UsageError(
                f"{one.file.name} is no experience yet: its {one.file.rows} rows wait for those of "
                "other files, and can be set aside as that experience; nothing was changed",
                hint="perdure status",
            )


def _unknown(ws: Workspace, ids: list[str]) -> list[str]:
    return sorted(set(ids) - {one.id for one in experiences.committed(ws)})
