"""How a network is made, and whether a saved learner still fits the configuration."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perdure.config import CONFIG_NAME, Config
from perdure.errors import ConfigError
from perdure.strategies import models
from perdure.strategies.features import FeatureSpec, Network

NEW_MODEL = "set a new model.name in perdure.toml and start a new learner, or undo the change"
"""The hint where a learner and the configuration have parted."""


@dataclass(frozen=True)
class Recipe:
    """How the network's body is made; part of what the weights mean."""

    factory: str
    parameters: Mapping[str, Any]

    @classmethod
    def of(cls, config: Config) -> Recipe:
        """From the section `[model]`, as it reads back from JSON."""
        return cls(config.model.factory, json.loads(json.dumps(config.model.parameters)))

    def network(self, spec: FeatureSpec, root: Path) -> Network:
        """A network with first weights, drawn from torch's random stream.

        Raises:
            ConfigError: The body cannot be made.
        """
        inputs = Network.inputs(spec)
        body = models.build(self.factory, inputs, spec.outputs, self.parameters, root)
        return Network(spec, body)


def check_fit(
    saved: FeatureSpec, recipe: Recipe, config: Config, root: Path, spec: FeatureSpec | None
) -> None:
    """Compare a saved learner's recipe and features with what is configured now.

    Args:
        saved: The learner's features.
        recipe: The learner's recipe.
        config: Its model, target and task must be the learner's.
        root: The workspace.
        spec: The features of the schema now; None: not compared.

    Raises:
        ConfigError: With every difference, both values named.
    """
    now = Recipe.of(config)
    pairs: list[tuple[str, Any, Any]] = [
        ("model.factory", now.factory, recipe.factory),
        ("model.parameters", now.parameters, recipe.parameters),
        ("data.target", config.data.target, saved.target),
        ("data.task", config.data.task, saved.task),
    ]
    if spec is not None:
        pairs.append(("schema labels", list(spec.labels), list(saved.labels)))
        pairs.append(("schema columns", _names(spec), _names(saved)))
        before = {column.name: column for column in saved.columns}
        pairs += [
            (f"schema column {c.name}", (c.kind, *c.categories),
             (before[c.name].kind, *before[c.name].categories))
            for c in spec.columns
            if c.name in before
        ]  # fmt: skip
    faults = [f"{k} = {new!r}: the learner was made with {old!r}" for k, new, old in _differ(pairs)]
    if faults:
        raise ConfigError(str(root / CONFIG_NAME), faults, hint=NEW_MODEL)


def _differ(pairs: Iterable[tuple[str, Any, Any]]) -> list[tuple[str, Any, Any]]:
    return [pair for pair in pairs if pair[1] != pair[2]]


def _names(spec: FeatureSpec) -> list[str]:
    return [column.name for column in spec.columns]
