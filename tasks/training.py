"""Training: from rows of a table to a learner in a folder, and from a learner to outputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure.config import Config, Workspace
from perdure.errors import DataRefused
from perdure.records import Candidate, Experience, Version

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from perdure.strategies.features.columns import FeatureSpec


def learning_key(
    parent: Version | None, experience: Experience, spec: FeatureSpec, config: Config, root: Path
) -> str:
    """The identity of one learning step: what it starts from, learns, and how.

    Two steps with the same key give the same weights, bit for bit on a CPU. Gates, promotion
    and tracking are not part of it: they judge a step, they do not change it.

    Returns:
        64 hexadecimal digits.
    """
    learner = parent and [parent.weights_sha256, parent.state_sha256, list(parent.cursor)]
    split = () if experience.split == 1 else (experience.split,)  # 1: as before there was another
    identity = {
        "learner": learner,
        "experience": [experience.id, experience.sha256, *split],
        "features": spec.to_json(),
        **configuration(config, root),
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def configuration(config: Config, root: Path) -> dict[str, Any]:
    """The settings, and the digests of files of the user's own, that decide what is learned.

    Part of the learning key: a change here changes the key of every step that is learned again.
    """
    data = config.data.model_dump(include={"target", "task", "test", "validation"})
    model = config.model.model_dump(include={"factory", "parameters", "heads"})
    if config.model.bins is not None:
        model["bins"] = config.model.bins
    if source := _source(config.model.factory, root):
        model["source"] = source
    weights = config.model.parameters.get("weights")
    if isinstance(weights, str) and (root / weights).is_file():
        model["weights"] = hashlib.sha256((root / weights).read_bytes()).hexdigest()
    own = {s.name: _source(s.name, root) for s in config.training.strategies if ":" in s.name}
    return {
        "data": data,
        "model": model,
        "training": config.training.model_dump(mode="json"),
        **({"plugins": own} if own else {}),
        **({"processes": number} if (number := processes(config)) > 1 else {}),
    }


def processes(config: Config) -> int:
    """How many processes learn an experience together on this machine.

    Raises:
        ConfigError: There are fewer GPUs than processes.
    """
    if config.resources.processes == 1:  # without torch
        return 1
    from perdure.strategies.parallel import processes

    return processes.count(config)


def _source(name: str, root: Path) -> str | None:
    """SHA-256 of a user's `path/to/file.py:factory`; None for anything else."""
    path = root / name.rpartition(":")[0]
    if path.suffix != ".py" or not path.is_file():
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()


def train(
    workspace: Workspace,
    spec: FeatureSpec,
    parent: Path | None,
    experience: str,
    frame: pd.DataFrame,
    splits: NDArray[np.str_],
    folder: Path,
    profile: Path | None = None,
) -> Candidate:
    """Learn one experience, and save the learner.

    Args:
        workspace: Its configuration says how.
        spec: The features and the target.
        parent: The folder of the learner to go on from; None: a new one.
        experience: The experience's id.
        frame: All its rows, canonical.
        splits: `(len(frame),)`: `train`, `validation` or `test`; test rows are not looked at.
        folder: Where the learner is written; it must not exist.
        profile: A folder for a profile of some training steps.

    Raises:
        DataRefused: The experience has no training row.
        ConfigError: The model or the features no longer fit the learner.
        Corrupt: The parent's learner is incomplete or changed.
    """
    from perdure.strategies.learner import growth
    from perdure.strategies.learner.learner import Learner
    from perdure.strategies.training import engine

    learning, watching = splits == "train", splits == "validation"
    if not learning.any():
        raise DataRefused(
            f"experience {experience} has no row to train on: all {len(frame)} are held out",
            hint="equal rows lie on one side together, unless they are frequent; "
            "gather more rows into one file",
        )
    config, root = workspace.config, workspace.root
    columns, target = columns_of(spec, frame, learning), frame[spec.target].to_numpy()
    if parent is None:
        learner = Learner.new(spec, config, root, columns, target[learning])
    else:
        learner = Learner.load(parent, config, root, spec)
        growth.grow(learner, spec)
    trained = engine.learn(
        learner,
        experience,
        columns,
        target[learning],
        columns_of(spec, frame, watching),
        target[watching],
        config,
        profile,
        folder.parent,
    )
    learner.save(folder)
    return Candidate(trained, learner.weights_sha256, learner.state_sha256, learner.cursor)


def outputs(
    workspace: Workspace, spec: FeatureSpec, learner: Path, frame: pd.DataFrame
) -> NDArray[np.floating[Any]]:
    """What a saved learner says of rows.

    Returns:
        `(rows, classes)` probabilities of the labels of `spec`, 0 for one that the learner
        does not know; or `(rows,)` values in the target's unit.

    Raises:
        ConfigError: The model or the features no longer fit the learner.
    """
    from perdure.strategies.learner.learner import Learner
    from perdure.strategies.training import devices

    loaded = Learner.load(learner, workspace.config, workspace.root, replace(spec, labels=()))
    with devices.threads(workspace.config.training.threads):
        found = loaded.predict(columns_of(spec, frame))
    known = loaded.spec.labels
    if known == spec.labels:
        return found
    result = np.zeros((len(found), len(spec.labels)), dtype=found.dtype)
    for place, label in enumerate(spec.labels):
        if label in known:
            result[:, place] = found[:, known.index(label)]
    return result


def check_loads(workspace: Workspace, learner: Path) -> None:
    """Load a saved learner, to know that training can go on from it.

    Raises:
        ConfigError: The model or the features no longer fit the learner.
        Corrupt: It is incomplete or changed.
    """
    from perdure.strategies.learner.learner import Learner

    Learner.load(learner, workspace.config, workspace.root)


def statistics(workspace: Workspace, learner: Path) -> dict[str, tuple[float, float]]:
    """Mean and scale that a saved learner standardises each number column of a table with."""
    from perdure.strategies.learner.learner import Learner

    loaded = Learner.load(learner, workspace.config, workspace.root)
    if loaded.spec.kind != "table":
        return {}
    names = [column.name for column in loaded.spec.columns if column.kind == "number"]
    pairs = zip(loaded.prepare.mean.tolist(), loaded.prepare.scale.tolist(), strict=True)
    # After the numbers come the times, whose distance is not a number of standard deviations.
    return {name: pair for name, pair in zip(names, pairs, strict=False) if np.isfinite(pair[1])}


def grown(
    spec: FeatureSpec, known: Sequence[Any], target: NDArray[Any], most: int | None = None
) -> FeatureSpec:
    """The features with a label for each class that there is.

    Args:
        spec: As the schema has it.
        known: The labels of the learner to go on from, in their order; they stay the first.
        target: `(rows,)`, the labels of an experience.
        most: So many labels at most.

    Raises:
        DataRefused: With the new classes there are too many.
    """
    if spec.task == "regression":
        return spec
    labels = dict.fromkeys((*known, *spec.labels, *sorted(set(np.asarray(target).tolist()))))
    if most is not None and len(labels) > most:
        new = [label for label in labels if label not in {*known, *spec.labels}]
        raise DataRefused(
            f"with its {len(new)} new classes ({', '.join(map(repr, new[:5]))} …) the model would "
            f"have {len(labels)}; the most is target.max_classes = {most}",
            hint="perdure show ID; a larger max_classes in schema.toml, then perdure release ID",
        )
    return replace(spec, labels=tuple(labels))


def truth(spec: FeatureSpec, frame: pd.DataFrame) -> NDArray[Any]:
    """The target as `evaluation.score` takes it: class codes, or values."""
    from perdure.strategies.features.encoding import encode_target

    return encode_target(spec, frame[spec.target].to_numpy()).numpy()


def columns_of(
    spec: FeatureSpec, frame: pd.DataFrame, chosen: NDArray[np.bool_] | None = None
) -> Mapping[str, NDArray[Any]]:
    """The feature columns as arrays: numbers and times float64, everything else object.

    Args:
        spec: The features.
        frame: Rows, canonical.
        chosen: `(len(frame),)`: the rows to take; None: all.
    """
    return _Columns(spec, frame, chosen)


class _Columns(Mapping[str, "NDArray[Any]"]):
    """Columns that are made when they are asked for, so that no two of them are in memory."""

    def __init__(
        self, spec: FeatureSpec, frame: pd.DataFrame, chosen: NDArray[np.bool_] | None
    ) -> None:
        self._types = {
            column.name: np.float64 if column.kind in ("number", "time") else object
            for column in spec.columns
        }
        self._frame, self._chosen = frame, chosen

    def __getitem__(self, name: str) -> NDArray[Any]:
        values = self._frame[name].to_numpy(dtype=self._types[name])
        return values if self._chosen is None else values[self._chosen]

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)
