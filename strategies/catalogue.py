"""The strategies by name: found, checked, and what goes with what.

A new strategy is a module of this package with a `STRATEGY`; nothing is registered by hand.
Neither torch nor Avalanche is imported, so that reading a configuration stays fast.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

from pydantic import ValidationError

import perdure.strategies
from perdure.config import CONFIG_NAME, Config, StrategyConfig, faults_of
from perdure.errors import ConfigError
from perdure.strategies.declaration import Settings, Strategy

_MARK = "\nSTRATEGY = "
"""What tells a strategy's module from the others, before it is imported: those need torch."""


@cache
def discover() -> dict[str, Strategy]:
    """All strategies, by name in alphabetical order."""
    found = {}
    for folder in map(Path, perdure.strategies.__path__):
        for path in sorted(folder.glob("*.py")):
            if _MARK in path.read_text(encoding="utf-8"):
                module = importlib.import_module(f"perdure.strategies.{path.stem}")
                found[module.STRATEGY.name] = module.STRATEGY
    return dict(sorted(found.items()))


def check(config: Config, root: Path) -> list[str]:
    """Faults of `training.strategies`, each with its key; usable as a `config.Check`."""
    known = discover()
    entries = config.training.strategies
    faults: list[str] = []
    names = [entry.name for entry in entries]
    for place, entry in enumerate(entries):
        key = f"training.strategies.{place}"
        if entry.name not in known:
            faults.append(f"{key}.name = {entry.name!r}: unknown; known: {', '.join(known)}")
            continue
        try:
            known[entry.name].settings.model_validate(entry.settings)
        except ValidationError as error:
            faults += [f"{key}.{fault}" for fault in faults_of(error)]
        if config.data.task not in known[entry.name].fits:
            faults.append(f"{key}.name = {entry.name!r}: does not fit {config.data.task}")
        faults += _clashes(key, entry, names[:place], known)
    return faults


def _clashes(
    key: str, entry: StrategyConfig, before: list[str], known: dict[str, Strategy]
) -> list[str]:
    if entry.name in before:
        return [f"{key}.name = {entry.name!r}: stands there twice"]
    return [
        f"{key}.name = {entry.name!r}: does not combine with {other!r}; "
        f"{entry.name} combines with {', '.join(sorted(known[entry.name].combines)) or 'nothing'}"
        for other in before
        if other in known and other not in known[entry.name].combines
    ]


def chosen(config: Config, root: Path) -> list[tuple[Strategy, Settings]]:
    """The configured strategies with their settings, alphabetical whatever the file's order.

    Raises:
        ConfigError: With every fault that `check` finds.
    """
    faults = check(config, root)
    if faults:
        raise ConfigError(str(root / CONFIG_NAME), faults)
    known = discover()
    entries = sorted(config.training.strategies, key=lambda entry: entry.name)
    return [
        (known[entry.name], known[entry.name].settings.model_validate(entry.settings))
        for entry in entries
    ]
