"""The learner: everything that learns, whole, in memory and on disk."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import Tensor, nn

from perdure.config import CONFIG_NAME, Config
from perdure.errors import ConfigError, Corrupt, DataRefused, UsageError
from perdure.progress import track
from perdure.strategies import catalogue
from perdure.strategies.features.columns import Array, Columns, FeatureSpec
from perdure.strategies.features.encoding import encode, encode_target
from perdure.strategies.features.modules import (
    Network,
    Output,
    Prepare,
    prepared,
    rows_at_once,
)
from perdure.strategies.learner import files, randomness
from perdure.strategies.learner.files import verify
from perdure.strategies.learner.recipe import NEW_MODEL, Recipe, check_fit
from perdure.strategies.learner.state import State, digest, on_cpu

__all__ = ["CLOCK", "Learner", "Recipe", "verify"]

CLOCK = ("train_iterations", "train_exp_counter", "total_iterations")
"""Avalanche's counters that outlive an experience."""


@dataclass
class Learner:
    """Weights, optimizer, strategy memory, random streams, statistics, and the cursor.

    Between two learning steps all of it is here, on the CPU, and the modules are in
    evaluation mode.
    """

    spec: FeatureSpec
    recipe: Recipe
    prepare: Prepare
    model: Network
    output: Output
    streams: dict[str, State]
    """Random streams: `random.torch`, `random.numpy`, `random.python`, perhaps `random.cuda`."""
    optimizer: State = field(default_factory=lambda: State(values={"name": None, "other": {}}))
    clock: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLOCK, 0))
    memory: dict[str, State] = field(default_factory=dict)
    """What each strategy remembers, by its name."""
    pretrained: State = field(default_factory=State)
    """What the file of trained weights held as the learner began, where there is one and a
    strategy begins with it again and again, see `Strategy.resets_model`; else nothing."""
    watched: State = field(default_factory=State)
    """Validation rows of past experiences, see `training.watching`; empty: none are kept."""
    cursor: tuple[str, ...] = ()
    """Ids of the experiences learned, in order."""
    root: Path = Path()
    """The workspace, for a model by file path; no part of the state."""

    @classmethod
    def new(
        cls,
        spec: FeatureSpec,
        config: Config,
        root: Path,
        columns: Columns,
        target: Array | None = None,
    ) -> Learner:
        """A learner that has learned nothing.

        Args:
            spec: The features and their vocabulary.
            config: `[model]` and `training.seed` count.
            root: The workspace, for a model by file path.
            columns: Training rows of the first experience, for the feature statistics.
            target: Their target; a regression needs it for its own statistics.

        Raises:
            ConfigError: The model cannot be made.
            DataRefused: The rows do not fit the features, or there are none.
            UsageError: A regression without `target`.
        """
        raw = encode(spec, columns)
        if len(raw) == 0:
            raise DataRefused("the first experience has 0 training rows; at least 1 is needed")
        prepare, output = Prepare(spec), Output(spec.task)
        prepare.fit(raw)
        if spec.task == "regression":
            if target is None:
                raise UsageError("a regression learner needs the target of its first rows")
            output.fit(encode_target(spec, target))
        recipe, cpu = Recipe.of(config, spec.kind), torch.device("cpu")
        with randomness.isolated(cpu):
            randomness.seed(config.training.seed, cpu)
            first = recipe.first(root)
            model = recipe.network(spec, root, first=first)
            streams = randomness.capture(cpu)
        model.fit(prepared(prepare, raw))
        return cls(
            spec, recipe, prepare, model.eval(), output, streams, pretrained=first, root=root
        )

    def parts(self) -> dict[str, State]:
        """Everything that determines the future, by name; the tensors are not copies."""
        features = {f"prepare.{k}": v for k, v in self.prepare.state_dict().items()}
        features |= {f"output.{k}": v for k, v in self.output.state_dict().items()}
        return {
            "weights": State(dict(self.model.state_dict())),
            "features": State(features, {"spec": self.spec.to_json()}),
            "optimizer": self.optimizer,
            "clock": State(values=dict(self.clock)),
            **self.streams,
            **({"first": self.pretrained} if self.pretrained.tensors else {}),
            **({"watched": self.watched} if self.watched.tensors else {}),
            **{f"memory.{name}": state for name, state in self.memory.items()},
        }

    def pretrained_weights(self) -> State:
        """What the file of trained weights held as the learner began; nothing: there is none.

        A learner that has not kept it, for no strategy needed it, takes it up now.

        Raises:
            ConfigError: It has not, and the file cannot be read.
        """
        if self.pretrained.tensors:
            return self.pretrained
        try:
            return self.recipe.first(self.root)
        except ConfigError as error:
            raise ConfigError(
                error.path, error.faults,
                hint="a strategy that begins with a new model begins with this file, which the "
                "learner does not hold: bring it back, or choose another strategy",
            ) from error  # fmt: skip

    def fresh(self, first: State | None = None) -> Network:
        """Build a new network, with first weights drawn from torch's random stream.

        Args:
            first: The trained ones among them; None: what the learner began with.
        """
        first = self.pretrained_weights() if first is None else first
        network = self.recipe.network(self.spec, self.root, first=first)
        network.take_statistics(self.model)
        return network

    @property
    def weights_sha256(self) -> str:
        """Digest of the network's parameters and buffers: 64 hex digits."""
        return digest({"weights": self.parts()["weights"]})

    @property
    def state_sha256(self) -> str:
        """Digest of everything else that determines the future: 64 hex digits.

        Strategy memory, optimizer, random streams, feature statistics, vocabulary, clock. No
        times, paths, revisions or device.
        """
        return digest({k: part for k, part in self.parts().items() if k != "weights"})

    def save(self, folder: Path) -> None:
        """Write the learner into an empty or missing folder: safetensors and JSON.

        Raises:
            Fault: There is something in the folder already.
        """
        parts = self.parts()
        values = {
            "recipe": self.recipe.to_json(),
            "cursor": list(self.cursor),
            "memories": sorted(self.memory),
            "parts": {
                name: {"tensors": sorted(part.tensors), "values": part.values}
                for name, part in parts.items()
            },
        }
        contents = {files.VALUES: json.dumps(values, indent=1, sort_keys=True).encode() + b"\n"}
        for name, part in parts.items():
            if part.tensors:
                tensors = {key: on_cpu(tensor) for key, tensor in part.tensors.items()}
                contents[f"{name}.safetensors"] = safetensors.torch.save(tensors)
        files.write(folder, contents)

    @classmethod
    def load(
        cls, folder: Path, config: Config, root: Path, spec: FeatureSpec | None = None
    ) -> Learner:
        """Read what `save` wrote, whole or not at all.

        Args:
            folder: Where it was saved.
            config: Its model, target and task must be those of the learner; anything about
                training may have changed.
            root: The workspace, for a model by file path.
            spec: The features of the schema as it is now; must be those of the learner. It
                may have new labels after the learner's, see `growth`.

        Raises:
            Corrupt: A file is missing, changed or unreadable.
            ConfigError: The model or the features no longer fit the learner.
        """
        values, contents = files.read(folder)
        try:
            parts = {
                name: _part(name, part, contents.get(name))
                for name, part in values["parts"].items()
            }
            saved = FeatureSpec.from_json(parts["features"].values["spec"])
            recipe = Recipe.from_json(values["recipe"])
            clock = {name: int(parts["clock"].values[name]) for name in CLOCK}
            cursor = files.cursor_in(values)
        except files.UNREADABLE as error:
            raise files.unreadable(folder, error) from error
        files.check_count(folder, clock["train_exp_counter"], cursor)
        check_fit(saved, recipe, config, root, spec)
        learner = cls._assemble(saved, recipe, parts, root, folder)
        learner.clock, learner.cursor = clock, cursor
        return learner

    @classmethod
    def _assemble(
        cls, spec: FeatureSpec, recipe: Recipe, parts: dict[str, State], root: Path, folder: Path
    ) -> Learner:
        prepare, output, cpu = Prepare(spec), Output(spec.task), torch.device("cpu")
        with randomness.isolated(cpu):  # making a network draws its first weights
            model = recipe.network(spec, root, restored=True)
        features = parts["features"].tensors
        try:
            prepare.load_state_dict(_under(features, "prepare."))
            output.load_state_dict(_under(features, "output."))
        except RuntimeError as error:
            raise Corrupt(f"the feature statistics in {folder} do not fit: {error}") from error
        try:
            model.load_state_dict(parts["weights"].tensors)
        except RuntimeError as error:
            raise ConfigError(
                str(root / CONFIG_NAME),
                [f"model.factory = {recipe.factory!r}: no longer fits the saved weights: {error}"],
                hint=NEW_MODEL,
            ) from error
        return cls(
            spec, recipe, prepare, model.eval(), output,
            streams={name: part for name, part in parts.items() if name.startswith("random.")},
            root=root,
            pretrained=parts.get("first", State()),
            watched=parts.get("watched", State()),
            optimizer=parts["optimizer"],
            memory={
                name.removeprefix("memory."): part
                for name, part in parts.items()
                if name.startswith("memory.")
            },
        )  # fmt: skip

    def inference(self) -> nn.Module:
        """Raw float64 (rows, columns) of `encode` to probabilities or values, for export.

        A copy on the CPU in evaluation mode: training on does not change it.
        """
        return copy.deepcopy(nn.Sequential(self.prepare, self._answers(), self.output)).eval()

    def _answers(self) -> nn.Module:
        """The network as it predicts: some strategies have their own way, see `Strategy`."""
        network: nn.Module = self.model
        for name, strategy in catalogue.discover().items():
            if strategy.predictor is not None and name in self.memory:
                network = strategy.predictor(network, self.memory[name])
        return network.eval()

    def predict(self, columns: Columns, batch: int = 4096) -> npt.NDArray[np.floating[Any]]:
        """Predict raw columns.

        Args:
            columns: All feature columns, of one length.
            batch: Rows at a time, at most; bounds the memory, changes no result beyond rounding.

        Returns:
            Classification: float32 (rows, labels), probabilities. Regression: float64 (rows,).

        Raises:
            DataRefused: The columns do not fit the features.
        """
        raw = encode(self.spec, columns)
        found, network = [], self._answers()
        with torch.no_grad(), track("measuring", len(raw)) as advance:
            for part in torch.split(raw, rows_at_once(self.spec, batch)):
                found.append(self.output(network(self.prepare(part))))
                advance(len(part))
        return torch.cat(found).numpy()


def _part(name: str, part: Mapping[str, Any], data: bytes | None) -> State:
    tensors = safetensors.torch.load(data) if data is not None else {}
    if sorted(tensors) != sorted(part["tensors"]):
        raise ValueError(f"{name} has tensors {sorted(tensors)}, not {sorted(part['tensors'])}")
    return State(tensors, dict(part["values"]))


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
