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
from perdure.strategies.features.columns import Column, FeatureSpec
from perdure.strategies.features.modules import Network
from perdure.strategies.learner.state import State

NEW_MODEL = "set a new model.name in perdure.toml and start a new learner, or undo the change"
"""The hint where a learner and the configuration have parted."""


@dataclass(frozen=True)
class Recipe:
    """How the network's body is made; part of what the weights mean."""

    factory: str
    parameters: Mapping[str, Any]
    heads: str | None = None

    @classmethod
    def of(cls, config: Config) -> Recipe:
        """From the section `[model]`, as it reads back from JSON."""
        model = config.model
        return cls(model.factory, json.loads(json.dumps(model.parameters)), model.heads)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `Recipe(**values)` reads them back."""
        return {
            "factory": self.factory,
            "parameters": dict(self.parameters),
            "heads": self.heads,
        }

    def first(self, root: Path) -> State:
        """What the file of trained weights holds that a model begins with; nothing: there is none.

        Raises:
            ConfigError: It cannot be read.
        """
        return State(models.trained(self.factory, self.parameters, root))

    def network(
        self, spec: FeatureSpec, root: Path, *, restored: bool = False, first: State | None = None
    ) -> Network:
        """A network with first weights, drawn from torch's random stream or read from a file.

        Args:
            spec: The features.
            root: The workspace.
            restored: Saved weights follow, so that a file of first weights may be gone.
            first: What that file held; None: it is read.

        Raises:
            ConfigError: The body cannot be made.
        """
        try:
            outputs = spec.outputs * Network.heads(spec, self.heads)
        except ValueError as error:
            fault = f"model.heads = {self.heads!r}: {error}"
            raise ConfigError(str(root / CONFIG_NAME), [fault]) from error
        inputs = Network.inputs(spec)
        body = models.build(
            self.factory, inputs, outputs, self.parameters, root,
            restored=restored, weights=first.tensors if first else None,
        )  # fmt: skip
        return Network(spec, body, self.heads)


def check_fit(
    saved: FeatureSpec, recipe: Recipe, config: Config, root: Path, spec: FeatureSpec | None
) -> None:
    """Compare a saved learner's recipe and features with what is configured now.

    Args:
        saved: The learner's features.
        recipe: The learner's recipe.
        config: Its model, target and task must be the learner's.
        root: The workspace.
        spec: The features of the schema now; None: not compared. Of its labels those of the
            learner must be the first; without labels they are not compared.

    Raises:
        ConfigError: With every difference, both values named.
    """
    now = Recipe.of(config)
    pairs: list[tuple[str, Any, Any]] = [
        ("model.factory", now.factory, recipe.factory),
        ("model.parameters", now.parameters, recipe.parameters),
        ("model.heads", now.heads, recipe.heads),
        ("data.target", config.data.target, saved.target),
        ("data.task", config.data.task, saved.task),
    ]
    if spec is not None:
        if spec.labels[: len(saved.labels)] != saved.labels and spec.labels:
            pairs.append(("schema labels", list(spec.labels), list(saved.labels)))
        pairs.append(("schema columns", _names(spec), _names(saved)))
        before = {column.name: column for column in saved.columns}
        pairs += [
            (f"schema column {c.name}", _told(c), _told(before[c.name]))
            for c in spec.columns
            if c.name in before
        ]
    faults = [f"{k} = {new!r}: the learner was made with {old!r}" for k, new, old in _differ(pairs)]
    if faults:
        raise ConfigError(str(root / CONFIG_NAME), faults, hint=NEW_MODEL)


def _differ(pairs: Iterable[tuple[str, Any, Any]]) -> list[tuple[str, Any, Any]]:
    return [pair for pair in pairs if pair[1] != pair[2]]


def _names(spec: FeatureSpec) -> list[str]:
    return [column.name for column in spec.columns]


def _told(column: Column) -> tuple[Any, ...] | dict[str, Any]:
    """A category by its words, the others by their settings."""
    if column.kind in ("number", "category"):
        return (column.kind, *column.categories)
    return {key: value for key, value in column.to_json().items() if key != "name"}
