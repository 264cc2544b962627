"""Measuring models: which rows, and the champion beside the candidate on the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure.config import Workspace
from perdure.errors import DataRefused
from perdure.records import Evaluation, Experience, Measured, Metrics, Verdict
from perdure.tasks import evaluation, experiences, packaging, training
from perdure.tasks.tables import content

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from perdure.strategies.features.columns import FeatureSpec


@dataclass(frozen=True, eq=False)
class Rows:
    """An experience's rows, and the side that each lies on for ever."""

    experience: str
    frame: pd.DataFrame
    keys: NDArray[np.uint64]
    """`(len(frame),)`."""
    sides: NDArray[np.str_]
    """`(len(frame),)`: `train`, `validation` or `test`."""


def deal(ws: Workspace, spec: FeatureSpec, experience: Experience) -> Rows:
    """Read an experience and deal its rows out by a hash of their content."""
    frame = experiences.read_experience(ws, experience.id, content.content_sha256)
    keys = content.row_keys(frame, [column.name for column in spec.columns])
    sides = content.sides(keys, ws.config.data.test, ws.config.data.validation)
    return Rows(experience.id, frame, keys, sides)


def prequential(
    ws: Workspace, spec: FeatureSpec, rows: Rows, champion: Path | None
) -> Metrics | None:
    """The champion on all rows of an experience, before anything learned from it."""
    if champion is None:
        return None
    outputs = training.outputs(ws, spec, champion / packaging.LEARNER, rows.frame)
    return evaluation.score(spec.task, training.truth(spec, rows.frame), outputs)


def evaluate(
    ws: Workspace,
    spec: FeatureSpec,
    rows: Rows,
    candidate: Path,
    champion: Path | None,
    parent: Path | None,
    before: Metrics | None,
) -> tuple[Evaluation, pd.DataFrame]:
    """Measure candidate and champion on the test rows of every learned experience.

    Args:
        ws: The workspace.
        spec: The features and the target.
        rows: The new experience.
        candidate: The candidate's learner.
        champion: The champion's version folder; None: there is none.
        parent: The version folder that the candidate goes on from; it brings the earlier rows.
        before: The prequential metrics, handed on.

    Returns:
        The numbers, and the rows that they were measured on.

    Raises:
        DataRefused: There is no test row at all.
    """
    test = rows.sides == "test"
    measured_on = evaluation.rows(
        packaging.rows_in(parent) if parent else None,
        rows.frame[test],
        rows.keys[test],
        rows.experience,
        ws.config.evaluation.max_rows,
    )
    if not len(measured_on):
        raise DataRefused(
            f"experience {rows.experience} has no test row among its {len(rows.frame)}",
            hint="gather more rows into one file",
        )
    earlier = packaging.matrix_in(parent) if parent else None
    truth = training.truth(spec, measured_on)
    constant = evaluation.constant(spec.task, truth, spec.outputs)
    owners = measured_on[evaluation.EXPERIENCE].tolist()

    def of(outputs: NDArray[Any]) -> Measured:
        return evaluation.measure(spec.task, truth, outputs, owners, rows.experience)

    theirs = None
    if champion is not None:
        theirs = of(training.outputs(ws, spec, champion / packaging.LEARNER, measured_on))
    numbers = evaluation.summarise(
        metric=ws.config.metric,
        candidate=of(training.outputs(ws, spec, candidate, measured_on)),
        champion=theirs,
        baseline=of(constant).average,
        prequential=before,
        earlier=earlier,
        newest=rows.experience,
        window=ws.config.evaluation.window,
        rows_measured=len(measured_on),
    )
    return numbers, measured_on


def markdown(experience: str, version: int, numbers: Evaluation, verdict: Verdict) -> str:
    """A learning step as a page: the verdict with its reasons, and the numbers."""
    head = [
        f"# {experience}: version {version} {verdict.answer}",
        "",
    ]
    head += [f"- {'✓' if r.passed else '✗'} {r.message}" for r in verdict.reasons]
    columns: dict[str, Metrics | None] = {
        "before learning (champion)": numbers.prequential,
        "new experience": numbers.candidate.new,
        "earlier experiences": numbers.candidate.past,
        "average": numbers.candidate.average,
        "champion, average": numbers.champion.average if numbers.champion else None,
    }
    shown = {name: metrics for name, metrics in columns.items() if metrics}
    table = ["", f"| metric | {' | '.join(shown)} |", "|---" * (len(shown) + 1) + "|"]
    for metric in numbers.candidate.average:
        cells = " | ".join(f"{metrics[metric]:.4f}" for metrics in shown.values())
        table.append(f"| {metric} | {cells} |")
    tail = [""]
    if numbers.forgetting is not None:
        tail.append(f"Forgetting of {numbers.metric}: {numbers.forgetting:+.4f}.")
    if numbers.backward_transfer is not None:
        tail.append(f"Backward transfer: {numbers.backward_transfer:+.4f}.")
    return "\n".join(head + table + tail)
