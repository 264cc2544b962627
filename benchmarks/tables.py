"""The default learner on many small tables, learned file by file, beside models from scratch."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmarks.results import Row
from benchmarks.table_sets import TableSet, sets
from perdure.config import Workspace, parse
from perdure.tasks import evaluation, training
from perdure.tasks.tables import check, splitting
from perdure.tasks.tables import schema as schemas

if TYPE_CHECKING:
    from perdure.strategies.features.columns import FeatureSpec

Metrics = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Prepared:
    """A set as a workspace has it after ingesting its blocks."""

    schema: schemas.Schema
    frames: list[pd.DataFrame]
    sides: list[Any]

    def side(self, wanted: str) -> pd.DataFrame:
        """The rows of one side, of all blocks."""
        pairs = zip(self.frames, self.sides, strict=True)
        parts = [frame[sides == wanted] for frame, sides in pairs]
        joined: pd.DataFrame = pd.concat(parts, ignore_index=True)
        return joined

    def learnable(self, count: int) -> pd.DataFrame:
        """The training and validation rows of the first blocks."""
        pairs = zip(self.frames[:count], self.sides[:count], strict=True)
        parts = [frame[sides != "test"] for frame, sides in pairs]
        joined: pd.DataFrame = pd.concat(parts, ignore_index=True)
        return joined

    def features(self, of: TableSet) -> FeatureSpec:
        """The features, with the classes of all blocks in the order of their arrival."""
        spec = self.schema.feature_spec()
        for frame in self.frames:
            spec = training.grown(spec, spec.labels, frame[of.target].to_numpy())
        return spec


def prepare(of: TableSet) -> Prepared:
    """Infer the schema from the first block, and check every block against it."""
    blocks = of.blocks()
    schema = schemas.infer(blocks[0], of.target, of.task)
    known: set[Any] = set()
    frames, sides = [], []
    for block in blocks:
        checked = check.check(block, schema, known=known)
        known |= set(checked.new)
        keys = splitting.keys(checked.accepted, schema.feature_spec().columns)
        frames.append(checked.accepted)
        sides.append(splitting.splits(keys, 0.2, 0.1))
    return Prepared(schema, frames, sides)


@dataclass(frozen=True)
class Measured:
    """Metrics of one model.

    Attributes:
        arriving: On each file before it is learned, all rows of the second file to the last.
        last: On the test rows of all files, after the last one is learned.
    """

    arriving: Mapping[str, float]
    last: Mapping[str, float]


def learned(of: TableSet, found: Prepared, seed: int, settings: str = "") -> Measured:
    """The default learner, which learns the files one by one.

    Args:
        of: The set.
        found: Its rows.
        seed: Of the learner.
        settings: More lines of `[training]`, and further sections; empty: every default.
    """
    whole = found.features(of)
    arriving: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="perdure-bench-") as place:
        root = Path(place)
        text = (
            f'[model]\nname = "m"\n[data]\ntarget = "{of.target}"\ntask = "{of.task}"\n'
            f"[training]\nseed = {seed}\n{settings}\n"
        )
        ws = Workspace(root, parse(text))
        parent, spec = None, found.schema.feature_spec()
        for number, (frame, sides) in enumerate(zip(found.frames, found.sides, strict=True)):
            spec = training.grown(spec, spec.labels, frame[of.target].to_numpy())
            if parent is not None:
                outputs = training.outputs(ws, spec, parent, frame)
                arriving.append(_for_all(outputs, len(whole.labels)))
            folder = root / str(number)
            training.train(ws, spec, parent, f"{number + 1:06d}-00000000", frame, sides, folder)
            parent = folder
        assert parent is not None
        last = training.outputs(ws, whole, parent, found.side("test"))
    return _measured(of, found, arriving, last)


def _for_all(outputs: Any, labels: int) -> Any:
    """Outputs with columns of zeros for the classes that were not known yet."""
    wide = outputs
    if outputs.ndim == 2 and outputs.shape[1] < labels:
        wide = np.zeros((len(outputs), labels))
        wide[:, : outputs.shape[1]] = outputs
    return wide


def _measured(of: TableSet, found: Prepared, arriving: Sequence[Any], last: Any) -> Measured:
    spec = found.features(of)
    later = pd.concat(found.frames[1:], ignore_index=True)
    return Measured(
        evaluation.score(of.task, training.truth(spec, later), np.concatenate(arriving)),
        evaluation.score(of.task, training.truth(spec, found.side("test")), last),
    )


def from_scratch(of: TableSet, found: Prepared, linear: bool) -> Measured:
    """A scikit-learn model that is trained again for each file, on all rows so far.

    Args:
        of: The set.
        found: Its rows.
        linear: Logistic or ridge regression; else gradient boosting.
    """
    spec = found.features(of)
    arriving: list[Any] = []
    for count in range(1, len(found.frames) + 1):
        rows = found.learnable(count)
        x, y = _matrix(spec, rows), training.truth(spec, rows)
        model = _model(of, linear)
        model.fit(np.nan_to_num(x) if linear else x, y)
        last = count == len(found.frames)
        asked = _matrix(spec, found.side("test") if last else found.frames[count])
        if linear:
            asked = np.nan_to_num(asked)
        if of.task == "regression":
            outputs = model.predict(asked)
        else:
            outputs = np.zeros((len(asked), len(spec.labels)))
            outputs[:, model.classes_] = model.predict_proba(asked)
        if last:
            return _measured(of, found, arriving, outputs)
        arriving.append(outputs)
    raise ValueError(f"{of.name} has no rows")


def _model(of: TableSet, linear: bool) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifies = of.task == "classification"
    if linear:
        plain = LogisticRegression(max_iter=2000) if classifies else Ridge()
        return make_pipeline(StandardScaler(), plain)
    make = HistGradientBoostingClassifier if classifies else HistGradientBoostingRegressor
    return make(random_state=0)  # of so few rows it draws nothing


def _matrix(spec: FeatureSpec, frame: pd.DataFrame) -> Any:
    """Numbers and times as they are; a column of 0 and 1 for each of a category's words."""
    parts = []
    for column in spec.columns:
        given = frame[column.name]
        if column.kind == "category":
            words = column.categories or sorted(set(given.dropna()))
            parts += [(given == word).to_numpy(dtype=float) for word in words]
        else:
            parts.append(given.to_numpy(dtype=float))
    return np.stack(parts, axis=1)


PART = "tables"
SEEDS = (0, 1, 2)
MEANS = {
    "arriving": "mean behind gradient boosting, each file before it is learned",
    "last": "mean behind gradient boosting, test rows in the end",
}
ABOVE = "share of the sets above a constant prediction"


def measure(only: str, begins: Callable[[str], Any]) -> Iterator[Row]:
    """One row for each set, and their means where all are measured."""
    behind: dict[str, list[float]] = {when: [] for when in MEANS}
    above: list[bool] = []
    every = list(sets())
    summaries = (*MEANS.values(), ABOVE)
    for of in every:
        if only not in of.name and only not in ("", *summaries):
            continue
        begins(of.name)
        metric = "accuracy" if of.task == "classification" else "r2"
        found = prepare(of)
        ours = [learned(of, found, seed) for seed in SEEDS]
        boosted = from_scratch(of, found, linear=False)
        constant = constantly(of, found)
        for when, values in behind.items():
            mean = _mean([getattr(one, when) for one in ours], metric)
            values.append(getattr(boosted, when)[metric] - mean)
        above.append(_mean([one.last for one in ours], metric) > constant[metric])
        if only in of.name:
            linear = from_scratch(of, found, linear=True)
            yield _row(of, found, metric, ours, boosted, linear, constant)
    if len(above) == len(every):
        for when, name in MEANS.items():
            yield Row(PART, name, statistics.mean(behind[when]), target=0.01, most=True)
        yield Row(PART, ABOVE, statistics.mean(above), target=1.0)


def _row(
    of: TableSet,
    found: Prepared,
    metric: str,
    ours: Sequence[Measured],
    boosted: Measured,
    linear: Measured,
    constant: Mapping[str, float],
) -> Row:
    last = [one.last for one in ours]
    note = f"{'accuracy' if metric == 'accuracy' else 'R²'}; "
    note += f"in the end {_mean(last, metric):.3f} ({boosted.last[metric]:.3f} / "
    note += f"{linear.last[metric]:.3f}, constant {constant[metric]:.3f})"
    if metric == "accuracy":
        loss = _mean([one.arriving for one in ours], "log_loss")
        note += f"; log loss {loss:.3f} ({boosted.arriving['log_loss']:.3f})"
    rows, files = sum(map(len, found.frames)), len(found.frames)
    return Row(
        PART,
        of.name,
        _mean([one.arriving for one in ours], metric),
        repeats=tuple(one.arriving[metric] for one in ours),
        beside=f"{boosted.arriving[metric]:.3f} / {linear.arriving[metric]:.3f}",
        note=f"{note}; {rows:,} rows in {files} files",
    )


def _mean(found: Metrics, metric: str) -> float:
    return statistics.mean(one[metric] for one in found)


def constantly(of: TableSet, found: Prepared) -> Mapping[str, float]:
    """The metrics of the most frequent class, or of the mean, of the test rows in the end."""
    spec, test = found.features(of), found.side("test")
    truth = training.truth(spec, test)
    return evaluation.score(of.task, truth, evaluation.constant(of.task, truth, spec.outputs))
