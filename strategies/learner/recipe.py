"""How a network is made, and whether a saved learner still fits the configuration."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure.config import CONFIG_NAME, Config
from perdure.errors import ConfigError
from perdure.strategies.features.columns import Column, FeatureSpec

if TYPE_CHECKING:  # a look at a saved learner needs no torch
    from perdure.strategies.features.modules import Network
    from perdure.strategies.learner.state import State

NEW_MODEL = "set a new model.name in perdure.toml and start a new learner, or undo the change"
"""The hint where a learner and the configuration have parted."""

BINS = 16
"""Bins of a table's numbers, where perdure.toml says nothing and the model is Perdure's own."""
EDITION = 2
"""Version of the defaults that a new learner of a table gets. 1, which others still get: ten epochs
whatever the number of rows."""


@dataclass(frozen=True)
class Recipe:
    """How the network's body is made; part of what the weights mean."""

    factory: str
    parameters: Mapping[str, Any]
    heads: str | None = None
    bins: int = 0
    """Piecewise-linear features of each number."""
    edition: int = 1
    """Version of the defaults that the learner goes on with where perdure.toml says nothing."""

    @classmethod
    def of(cls, config: Config, kind: str) -> Recipe:
        """From the section `[model]`, as it reads back from JSON.

        Args:
            config: The configuration.
            kind: Of the features.
        """
        from perdure.strategies import models

        model = config.model
        parameters = json.loads(json.dumps(model.parameters))
        if kind != "table":
            return cls(model.factory, parameters, model.heads)
        bins = model.bins
        if bins is None:
            bins = BINS if model.factory in models.BUILT_IN else 0
        return cls(model.factory, parameters, model.heads, bins, EDITION)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `Recipe(**values)` reads them back."""
        return {
            "factory": self.factory,
            "parameters": dict(self.parameters),
            "heads": self.heads,
            "bins": self.bins,
            "edition": self.edition,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Recipe:
        """Read what `to_json` wrote.

        Raises:
            TypeError: It is something else.
        """
        found = cls(**value)
        kinds = (str, dict, str | None, int, int)
        for name, kind in zip(found.to_json(), kinds, strict=True):
            if not isinstance(getattr(found, name), kind):
                raise TypeError(f"{name} is {getattr(found, name)!r:.80}")
        return found

    def first(self, root: Path) -> State:
        """What the file of trained weights holds that a model begins with; nothing: there is none.

        Raises:
            ConfigError: It cannot be read.
        """
        from perdure.strategies import models
        from perdure.strategies.learner.state import State

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
        from perdure.strategies import models
        from perdure.strategies.features.modules import Network

        try:
            outputs = spec.outputs * Network.heads(spec, self.heads)
        except ValueError as error:
            fault = f"model.heads = {self.heads!r}: {error}"
            raise ConfigError(str(root / CONFIG_NAME), [fault]) from error
        inputs = Network.inputs(spec, self.bins)
        body = models.build(
            self.factory, inputs, outputs, self.parameters, root,
            restored=restored, weights=first.tensors if first else None,
        )  # fmt: skip
        return Network(spec, body, self.heads, self.bins)


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
    model = config.model
    bins = recipe.bins if model.bins is None or saved.kind != "table" else model.bins
    pairs: list[tuple[str, Any, Any]] = [
        ("model.factory", model.factory, recipe.factory),
        ("model.parameters", json.loads(json.dumps(model.parameters)), recipe.parameters),
        ("model.heads", model.heads, recipe.heads),
        ("model.bins", bins, recipe.bins),
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
    if column.kind in ("number", "category") and not column.buckets:
        return (column.kind, *column.categories)
    return {key: value for key, value in column.to_json().items() if key != "name"}
