"""What the demo's learner is measured against: fine-tuning without a memory, and from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perdure.config import StrategyConfig, Workspace
from perdure.flows import measuring
from perdure.flows.pending import get
from perdure.records import Matrix
from perdure.tasks import evaluation, training
from perdure.tasks.tables import check, splitting
from perdure.tasks.tables import schema as schemas

if TYPE_CHECKING:
    import pandas as pd

    from perdure.strategies.features.columns import FeatureSpec


@dataclass(frozen=True)
class Step:
    """Naive fine-tuning after one experience."""

    average: float
    forgetting: float | None


@dataclass(frozen=True)
class FineTuned:
    """A whole run of naive fine-tuning."""

    steps: Mapping[str, Step]
    """By experience."""
    matrix: Matrix
    learner: Path
    """The folder of the last learner."""


def naive(workspace: Workspace) -> Workspace:
    """A copy of the workspace, fine-tuned with nothing kept."""
    training_config = workspace.config.training.model_copy(
        update={"strategies": (StrategyConfig(name="naive"),)}
    )
    return Workspace(
        workspace.root, workspace.config.model_copy(update={"training": training_config})
    )


def fine_tune(workspace: Workspace, cursor: Sequence[str], scratch: Path) -> FineTuned:
    """Learn the same experiences in the same order, naively, measured on the gates' rows."""
    ws, spec = naive(workspace), schemas.load(workspace.schema).feature_spec()
    steps: dict[str, Step] = {}
    rows, matrix, learner = None, None, None
    for number, name in enumerate(cursor):
        dealt = measuring.split_rows(ws, spec, get(ws, name))
        folder = scratch / f"naive-{number}"
        training.train(ws, spec, learner, name, dealt.frame, dealt.splits, folder)
        learner, test = folder, dealt.splits == "test"
        rows = evaluation.rows(
            rows, dealt.frame[test], dealt.keys[test], name, ws.config.evaluation.max_rows
        )
        measured = evaluation.measure(
            spec.task,
            training.truth(spec, rows),
            training.outputs(ws, spec, learner, rows),
            rows[evaluation.EXPERIENCE].tolist(),
            name,
        )
        matrix = evaluation.extend(
            matrix, ws.config.metric, measured, name, ws.config.evaluation.window
        )
        steps[name] = Step(measured.average[ws.config.metric], evaluation.forgetting(matrix))
    if matrix is None or learner is None:
        raise ValueError("nothing was learned, so there is nothing to compare with")
    return FineTuned(steps, matrix, learner)


def from_scratch(workspace: Workspace, cursor: Sequence[str], scratch: Path) -> Path:
    """Train a new learner on everything at once: what the memory has to stand in for."""
    import numpy as np
    import pandas as pd

    ws, spec = naive(workspace), schemas.load(workspace.schema).feature_spec()
    dealt = [measuring.split_rows(ws, spec, get(ws, name)) for name in cursor]
    frame = pd.concat([one.frame for one in dealt], ignore_index=True)
    sides = np.concatenate([one.splits for one in dealt])
    training.train(ws, spec, None, "everything", frame, sides, scratch / "scratch")
    return scratch / "scratch"


def by_year(workspace: Workspace, learner: Path, years: Sequence[pd.DataFrame]) -> float:
    """Accuracy on held-out rows, year by year, averaged over the years."""
    schema = schemas.load(workspace.schema)
    spec: FeatureSpec = schema.feature_spec()
    accuracies = []
    for year in years:
        frame = check.check(year, schema).accepted
        # No row of the sample is frequent, so each has its own side, whichever file it came in.
        keys = splitting.keys(frame, spec.columns)
        data = workspace.config.data
        test = frame[splitting.splits(keys, data.test, data.validation) == "test"]
        outputs = training.outputs(naive(workspace), spec, learner, test)
        accuracies.append(
            evaluation.score(spec.task, training.truth(spec, test), outputs)["accuracy"]
        )
    return sum(accuracies) / len(accuracies)
