"""Rollback: take the model back, whole. Needs MLflow and the workspace alone."""

from __future__ import annotations

import json
from pathlib import Path

from perdure.config import Workspace
from perdure.errors import GateRefused, UsageError
from perdure.flows import decisions, model_lock, prefect_engine
from perdure.flows.line import settle
from perdure.flows.prefect_engine import flow, step
from perdure.flows.service import approvals
from perdure.flows.telling import telling
from perdure.flows.workspace import open_workspace, who
from perdure.records import Change, Registered, RolledBack, Version
from perdure.tasks.registry import Registry


def run(workspace: str, to: int | None, reason: str | None, keep_data: bool) -> RolledBack:
    """`rollback` as a flow where Prefect is configured, and directly where it is not."""
    with telling(workspace):
        return prefect_engine.run(
            rollback, workspace=workspace, to=to, reason=reason, keep_data=keep_data
        )


@flow(name="rollback", flow_run_name=prefect_engine.run_name("rollback"))
def rollback(
    workspace: str = ".",
    to: int | None = None,
    reason: str | None = None,
    keep_data: bool = False,
) -> RolledBack:
    """Make an older version champion and challenger again: weights, memory and cursor.

    The experiences that only the abandoned versions had learned are held, or else the next
    retraining would learn them again and bring the same model back.

    Args:
        workspace: Folder of the workspace.
        to: The version; by default the one that the champion replaced.
        reason: Goes into the history.
        keep_data: Leave those experiences pending instead.

    Raises:
        UsageError: There is nothing to go back to, or no such version.
        GateRefused: A gate refused that version, and nobody ever promoted it.
        Corrupt: The version's learner is incomplete. Nothing was changed.
    """
    ws = open_workspace(workspace)
    with model_lock.hold(ws, "rollback"):
        registry = Registry(ws)
        finished = _rollback_in(registry.recover()) or _untold(ws, registry)
        _note(ws).unlink(missing_ok=True)
        if finished and to is None:
            return finished
        now = settle(registry)
        target = _target(registry, now, to)
        if _is_there(now, target):
            return RolledBack(target.version, None, (), changed=False)
        step(registry.download, name="check the learner")(target)
        change = decisions.rolled_back(now, target, reason, keep_data, who())
        if to is None:
            _remember(ws, change)
        step(registry.apply, name="move the aliases", retries=2)(change)
    if prefect_engine.in_flow_run():
        approvals.settle(ws)
    held = tuple(one.id for one in change.hold)
    replaced = now.champion.version if now.champion else None
    prefect_engine.report(
        f"Version {target.version} is champion and challenger again, instead of {replaced}. "
        f"Held: {', '.join(held) or 'none'}. {reason or ''}",
        "rollback",
    )
    _note(ws).unlink(missing_ok=True)
    return RolledBack(target.version, replaced, held, changed=True)


def _target(registry: Registry, now: Registered, to: int | None) -> Version:
    if to is not None:
        wanted = registry.version(to)
        if wanted.verdict not in ("passed", "undecided") and not _served(registry, to):
            raise GateRefused(
                f"version {to} was refused and never served: " + "; ".join(wanted.reasons),
                hint=f"perdure promote {to} --force --reason TEXT",
            )
        return wanted
    if now.champion is None:
        raise UsageError("there is no champion to roll back", hint="perdure status")
    if now.champion.replaced is None:
        raise UsageError(
            f"version {now.champion.version} replaced none; there is nothing before it",
            hint="perdure history, then perdure rollback --to VERSION",
        )
    return registry.version(now.champion.replaced)


def _rollback_in(change: Change | None) -> RolledBack | None:
    """The rollback that was cut short and stands now.

    Asked for again, "the version before" must not mean the one before that.
    """
    if change is None or not change.events or change.events[0].action != "rolled back":
        return None
    happened = change.events[0]
    if happened.version is None:
        return None
    held = tuple(one.id for one in change.hold)
    return RolledBack(happened.version, happened.replaced, held, changed=True)


def _note(ws: Workspace) -> Path:
    """Of a rollback without a version that was begun, and that nobody was told the end of."""
    return ws.state / "rollback.json"


def _remember(ws: Workspace, change: Change) -> None:
    happened = change.events[0]
    value = {
        "key": change.key,
        "version": happened.version,
        "replaced": happened.replaced,
        "held": [one.id for one in change.hold],
    }
    part = _note(ws).with_suffix(".part")
    part.write_text(json.dumps(value), encoding="utf-8")
    part.replace(_note(ws))


def _untold(ws: Workspace, registry: Registry) -> RolledBack | None:
    """The rollback that was killed after its last write, if nothing has happened since."""
    try:
        value = json.loads(_note(ws).read_text(encoding="utf-8"))
        if value["key"] != registry.last_change():
            return None
        return RolledBack(value["version"], value["replaced"], tuple(value["held"]), changed=True)
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None


def _served(registry: Registry, version: int) -> bool:
    """Whether a refused version was the champion once: forced, or shown to be better."""
    return any(
        event.version == version and event.action in ("forced", "promoted", "rolled back")
        for event in registry.history()
    )


def _is_there(now: Registered, target: Version) -> bool:
    return all(
        one is not None and one.version == target.version for one in (now.champion, now.challenger)
    )
