"""Rollback: take the model back, whole. Needs MLflow and the workspace alone."""

from __future__ import annotations

import json
from pathlib import Path

from perdure import atomic, escaping
from perdure.config import Workspace
from perdure.errors import GateRefused, UsageError
from perdure.flows import decisions, pages
from perdure.flows.line import settle
from perdure.orchestration import approvals, engine, model_lock, rollback_form
from perdure.orchestration.engine import flow, step
from perdure.orchestration.outcomes import Ending
from perdure.records import Change, Registered, RolledBack, Version
from perdure.strategies.learner.recipe import check_fit
from perdure.tasks import git, packaging, training
from perdure.tasks.registry import Registry
from perdure.workspace import actor, open_workspace


def run(
    workspace: str, to: int | None, reason: str | None, keep_data: bool, wait: float = 0.0
) -> RolledBack:
    """`rollback` as a flow where Prefect is configured, and directly where it is not."""
    return engine.run(
        rollback, workspace=workspace, to=to, reason=reason, keep_data=keep_data, wait=wait
    )


def _ending(result: RolledBack) -> Ending:
    if not result.changed:
        return "Nothing to do", f"Version {result.version} is the champion already."
    replaced = f", in place of {result.replaced}" if result.replaced else ""
    held = f"; held: {', '.join(result.held)}" if result.held else ""
    return "Rolled back", f"Version {result.version} serves{replaced}{held}."


@flow(name="rollback", flow_run_name=engine.run_name("rollback"), ending=_ending)
def rollback(
    workspace: str = ".",
    to: int | None = None,
    reason: str | None = None,
    keep_data: bool = False,
    wait: float = 0.0,
) -> RolledBack:
    """Make an older version champion and challenger again: weights, memory and cursor.

    The experiences that only the abandoned versions had learned are held, or else the next
    retraining would learn them again and bring the same model back.

    Args:
        workspace: Folder of the workspace.
        to: The version; by default the one that the champion replaced.
        reason: Goes into the history.
        keep_data: Leave those experiences pending instead.
        wait: How many seconds to wait where another process works on the model.

    Raises:
        UsageError: There is nothing to go back to, or no such version.
        GateRefused: A gate refused that version, and it was never promoted.
        Corrupt: The version is not whole, or not what was registered. Nothing was changed.
        ConfigError: Its learner does not fit the configuration: training could not go on from it.
            Nothing was changed.
    """
    ws = open_workspace(workspace)
    with model_lock.hold(ws, "rollback", wait_s=wait):
        registry = Registry(ws)
        finished = _rollback_in(registry.recover()) or _untold(ws, registry)
        _note(ws).unlink(missing_ok=True)
        if finished and to is None:
            return finished
        now = settle(registry)
        target = _target(registry, now, to)
        if _is_there(now, target):
            return RolledBack(target.version, None, (), changed=False)
        step(_check, name="check the learner")(ws, registry, target)
        change = decisions.rolled_back(now, target, reason, keep_data, actor())
        if to is None:
            _remember(ws, change)
        step(registry.apply, name="move the aliases", retries=2)(change)
    if engine.in_flow_run():
        approvals.settle(ws)
        rollback_form.refresh(ws)
    held = tuple(one.id for one in change.hold)
    replaced = now.champion.version if now.champion else None
    why = escaping.markdown(reason) if reason else ""
    engine.report(
        ws,
        "rollback",
        f"Version {pages.version(ws, target.version)} is champion and challenger again, instead of "
        f"{pages.version(ws, replaced)}. Held: {', '.join(held) or 'none'}. {why}",
        f"Version {target.version} is the champion again",
    )
    _note(ws).unlink(missing_ok=True)
    return RolledBack(target.version, replaced, held, changed=True)


def _check(ws: Workspace, registry: Registry, target: Version) -> None:
    """Whether the version is whole, and training can go on from it.

    Without torch, which takes seconds to load. But what a model file of the user's own makes can
    only be tried: so where that is not the file of then, the learner is loaded.
    """
    folder = registry.download(target)
    saved = packaging.look(folder)
    check_fit(saved.spec, saved.recipe, ws.config, ws.root, None)
    own, _, function = saved.recipe.factory.rpartition(":")
    if own and function and not _as_then(ws, own, target.code):
        training.check_loads(ws, folder / packaging.LEARNER)


def _as_then(ws: Workspace, file: str, code: str | None) -> bool:
    """Whether a file is what it was at a revision."""
    try:
        now = (ws.root / file).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return code is not None and git.at(ws.root, code, ws.root / file) == now


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
    """Path of the note of a rollback that was begun and whose end was not reported."""
    return ws.state / "rollback.json"


def _remember(ws: Workspace, change: Change) -> None:
    happened = change.events[0]
    value = {
        "key": change.key,
        "version": happened.version,
        "replaced": happened.replaced,
        "held": [one.id for one in change.hold],
    }
    atomic.write_text(_note(ws), json.dumps(value))


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
