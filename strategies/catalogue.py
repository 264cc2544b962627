"""The strategies by name: found, checked, and what goes with what.

A new strategy is a module or a folder of this package with a `STRATEGY`; nothing is registered
by hand. A user's own Avalanche plugin is named by where it is found. Neither torch nor Avalanche is
imported, so that reading a configuration stays fast, but where there is such a plugin.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, ValidationError

import perdure.strategies
from perdure.config import CONFIG_NAME, Config, StrategyConfig, faults_of
from perdure.errors import ConfigError
from perdure.strategies.declaration import Settings, Strategy

if TYPE_CHECKING:
    from perdure.strategies.plugins.base import Remembering

_MARK = "\nSTRATEGY = "
"""Marks a strategy's module before it is imported: the other modules import torch."""


@cache
def discover() -> dict[str, Strategy]:
    """All strategies, by name in alphabetical order."""
    found = {}
    for folder in map(Path, perdure.strategies.__path__):
        for path in sorted((*folder.glob("*.py"), *folder.glob("*/__init__.py"))):
            if _MARK in path.read_text(encoding="utf-8"):
                name = path.parent.name if path.name == "__init__.py" else path.stem
                module = importlib.import_module(f"perdure.strategies.{name}")
                found[module.STRATEGY.name] = module.STRATEGY
    return dict(sorted(found.items()))


class OwnSettings(Settings):
    """Settings of a user's own plugin: whatever its factory takes."""

    model_config = ConfigDict(frozen=True, extra="allow")


def is_own(name: str) -> bool:
    """Whether a strategy's name says where a user's own plugin is found."""
    return ":" in name


def key_of(name: str) -> str:
    """The name under which a strategy's memory is kept, fit for a file.

    That of a user's own plugin is where it is found, in letters that any system takes, and
    part of its SHA-256, so that no two are the same.
    """
    if not is_own(name):
        return name
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[-60:]
    return f"own-{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def check(config: Config, root: Path) -> list[str]:
    """Faults of `training.strategies`, each with its key; usable as a `config.Check`."""
    entries = config.training.strategies
    faults: list[str] = []
    names = [entry.name for entry in entries]
    for place, entry in enumerate(entries):
        key = f"training.strategies.{place}"
        faults += _alone(key, entry, config, root)
        if is_own(entry.name) or entry.name in discover():
            faults += _clashes(key, entry, names[:place])
            faults += _together(key, entry, config)
    return faults


def _together(key: str, entry: StrategyConfig, config: Config) -> list[str]:
    """Fault a strategy that several processes cannot learn together."""
    processes, known = config.resources.processes, discover()
    if processes == 1 or (entry.name in known and known[entry.name].parallel):
        return []
    fitting = ", ".join(name for name, strategy in known.items() if strategy.parallel)
    return [
        f"{key}.name = {entry.name!r}: does not go with resources.processes = {processes!r}, for "
        f"it may do something of its own with the rows of a batch; those that do: {fitting}"
    ]


def _alone(key: str, entry: StrategyConfig, config: Config, root: Path) -> list[str]:
    """Faults of one entry, whatever stands beside it."""
    known, task = discover(), config.data.task
    if is_own(entry.name):
        try:
            _made(entry.name, root, OwnSettings(**entry.settings))
        except ValueError as error:
            return [f"{key}.name = {entry.name!r}: {error}"]
        return []
    if entry.name not in known:
        return [
            f"{key}.name = {entry.name!r}: unknown; known: {', '.join(known)}, or a plugin of "
            "your own as package.module:factory or path/to/file.py:factory"
        ]
    strategy, faults = known[entry.name], []
    try:
        settings = strategy.settings.model_validate(entry.settings)
    except ValidationError as error:
        faults += [f"{key}.{fault}" for fault in faults_of(error)]
    else:
        why = strategy.unfit(settings, config) if strategy.unfit else ""
        faults += [f"{key}.{why}"] if why else []
    if task not in strategy.fits:
        fitting = ", ".join(name for name, other in known.items() if task in other.fits)
        faults.append(f"{key}.name = {entry.name!r}: does not fit {task}; those that do: {fitting}")
    return faults


def _clashes(key: str, entry: StrategyConfig, before: list[str]) -> list[str]:
    if entry.name in before:
        return [f"{key}.name = {entry.name!r}: stands there twice"]
    known = discover()
    if is_own(entry.name):
        return []
    mine = known[entry.name]
    return [
        f"{key}.name = {entry.name!r}: does not combine with {other!r}; "
        f"{entry.name} combines with {', '.join(sorted(mine.combines)) or 'nothing'}"
        f"{_because(mine, known[other])}"
        for other in before
        if other in known and other not in mine.combines
    ]


def _because(mine: Strategy, other: Strategy) -> str:
    reasons = (
        (mine, mine.standalone),
        (other, other.standalone),
        (mine, mine.conflicts_reason),
        (other, other.conflicts_reason),
    )
    return next((f" ({strategy.name}: {why})" for strategy, why in reasons if why), "")


def chosen(config: Config, root: Path) -> list[tuple[Strategy, Settings]]:
    """The configured strategies with their settings, alphabetical whatever the file's order.

    Raises:
        ConfigError: With every fault that `check` finds.
    """
    faults = check(config, root)
    if faults:
        raise ConfigError(str(root / CONFIG_NAME), faults)
    entries = sorted(config.training.strategies, key=lambda entry: entry.name)
    strategies = [discover().get(entry.name) or _own(entry.name, root) for entry in entries]
    return [
        (strategy, strategy.settings.model_validate(entry.settings))
        for strategy, entry in zip(strategies, entries, strict=True)
    ]


def _own(name: str, root: Path) -> Strategy:
    return Strategy(
        name=key_of(name),
        summary=f"the plugin of {name}",
        settings=OwnSettings,
        plugin=partial(_made, name, root),
    )


def _made(name: str, root: Path, settings: Any) -> Remembering:
    from perdure.strategies.plugins import own

    made: Remembering = own.make(name, settings.model_extra or {}, root)
    return made
