"""The line of training: which version goes on from which, and what a person changed in MLflow."""

from __future__ import annotations

import logging

from perdure.config import Workspace
from perdure.errors import Corrupt, LockHeld, PerdureError, UsageError
from perdure.flows import decisions, tournament
from perdure.orchestration import model_lock
from perdure.records import IN_MLFLOW, Change, Registered, Version
from perdure.tasks.registry import Registry

logger = logging.getLogger("perdure")


def line(registry: Registry, version: Version | None) -> tuple[int, ...]:
    """A version and its ancestors by `parent`, the newest first; none of no version."""
    if version is None:
        return ()
    parents = registry.parents()
    found: list[int] = []
    number: int | None = version.version
    while number is not None and number not in found:
        found.append(number)
        number = parents.get(number)
    return tuple(found)


def settle(registry: Registry) -> Registered:
    """Finish a change that was cut short, record what a person moved in MLflow, and read.

    Every command that changes the model begins with it. The caller holds the model's lock.
    """
    now = registry.read()
    if now.changing:
        if cut_short := registry.recover():
            logger.info("Finished a change that was cut short: %s", cut_short.key)
        now = registry.read()
    # Each of the three once: entrants, a pinned anchor, champion and challenger.
    for _ in range(3):
        if (change := _moved(registry, now)) is None:
            break
        registry.apply(change)
        for event in change.events:
            what = event.experience if event.version is None else f"v{event.version}"
            logger.warning("%s %s: %s", event.action, what or "", event.reason)
        now = registry.read()
    return now


def noticed(ws: Workspace, now: Registered) -> Registered:
    """Record what a person moved in MLflow, if that can be now, and read.

    For commands that only show: where the model is locked, or MLflow cannot be written, what
    stands is shown all the same, and a later command records it.
    """
    try:
        with model_lock.hold(ws, "record a move in MLflow"):
            return settle(Registry(ws))
    except LockHeld:
        return now
    except PerdureError as error:
        logger.warning("What was moved in MLflow is not recorded yet: %s", error.message)
        return now


def _moved(registry: Registry, now: Registered) -> Change | None:
    """The change that records what was moved in MLflow since the last one; None: nothing was."""
    if now.recorded is None or now.changing:
        return None
    # First, for what is decided on champion and challenger puts these aliases where they were.
    if change := _entrants_moved(registry, now) or _anchor_moved(registry, now):
        return change
    if not now.moved:
        return None
    before = {alias: _version(registry, number) for alias, number in now.recorded.items()}
    lines = {alias: line(registry, one) for alias, one in before.items()}
    return decisions.moved_in_mlflow(now, before, lines)


def _entrants_moved(registry: Registry, now: Registered) -> Change | None:
    """Who has no alias any more takes part no longer; a version that got one is a contender."""
    aliases = ("contender", "contender-2")
    named = [now.aliases[alias] for alias in aliases if alias in now.aliases]
    known = [entrant.version for entrant in now.tournament.of("contender")]
    gone = [
        entrant
        for entrant in now.tournament.entrants
        if (entrant.role == "contender" and entrant.version not in named)
        or (entrant.role == "anchor" and "anchor" not in now.aliases)
    ]
    entered = [number for number in dict.fromkeys(named) if number not in known]
    wanted = tournament.aliases(now.tournament)
    swapped = any(now.aliases.get(alias) != wanted[alias] for alias in aliases)
    if not gone and not swapped:
        return None
    versions = [one for one in (_version(registry, number) for number in entered) if one]
    return decisions.entrants_moved_in_mlflow(now, gone, versions)


def _anchor_moved(registry: Registry, now: Registered) -> Change | None:
    """The alias `anchor` on another version than Perdure's is a pin."""
    found = now.aliases.get("anchor")
    if found is None or found == tournament.aliases(now.tournament)["anchor"]:
        return None
    version = _version(registry, found)
    if version is None:
        return None
    return decisions.pinned(now, version, "the alias anchor was set in MLflow", IN_MLFLOW)


def _version(registry: Registry, number: int | None) -> Version | None:
    try:
        return None if number is None else registry.version(number)
    except (UsageError, Corrupt):  # deleted, or not one of Perdure's
        return None
