"""Measuring models: which rows, and the champion beside the candidate on the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure import arrival_table, drift_table, escaping, expressions, verdict_table
from perdure.config import CONFIG_NAME, Workspace
from perdure.errors import ConfigError, DataRefused
from perdure.records import (
    Arrival,
    Drift,
    Evaluation,
    Experience,
    Matrix,
    Measured,
    Metrics,
    Verdict,
)
from perdure.tasks import evaluation, experiences, own_gates, packaging, training
from perdure.tasks.tables import content, splitting

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from perdure.strategies.features.columns import FeatureSpec


_TRIED = 200
"""Rows that slices are tried on before a training."""


@dataclass(frozen=True, eq=False)
class Rows:
    """An experience's rows, and the split that each belongs to for ever."""

    experience: str
    frame: pd.DataFrame
    keys: NDArray[np.uint64]
    """`(len(frame),)`: what the rows are split by, as `splitting.keys` gives it."""
    splits: NDArray[np.str_]
    """`(len(frame),)`: `train`, `validation` or `test`."""


def split_rows(ws: Workspace, spec: FeatureSpec, experience: Experience) -> Rows:
    """Read an experience and split its rows by a hash of their content.

    Raises:
        Corrupt: The file is damaged.
        Fault: A newer Perdure wrote it.
        ConfigError: A slice does not suit the rows.
    """
    frame = experiences.read_experience(ws, experience.id, content.content_sha256)
    slices(ws, frame.head(_TRIED))  # before anything is trained
    keys = splitting.keys(frame, spec.columns, experience.split)
    splits = splitting.splits(keys, ws.config.data.test, ws.config.data.validation)
    return Rows(experience.id, frame, keys, splits)


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
    test = rows.splits == "test"
    measured_on = evaluation.rows(
        packaging.rows_in(parent) if parent else None,
        rows.frame[test],
        rows.keys[test],
        rows.experience,
        ws.config.evaluation.max_rows,
    )
    if not len(measured_on):
        raise DataRefused(
            f"experience {rows.experience} has no test row among its {_equal_rows(rows)}",
            hint="gather more rows into one file",
        )
    theirs = None
    if champion is not None:
        theirs = training.outputs(ws, spec, champion / packaging.LEARNER, measured_on)
    numbers = numbers_of(
        ws,
        spec,
        measured_on,
        rows.experience,
        training.outputs(ws, spec, candidate, measured_on),
        theirs,
        before,
        packaging.matrix_in(parent) if parent else None,
    )
    return numbers, measured_on


def _equal_rows(rows: Rows) -> str:
    """The number of rows, and why none is on the test side where many are equal.

    That happens with form 1 of the split alone: `splitting.split_keys` spreads frequent rows.
    """
    import numpy as np

    distinct = len(np.unique(rows.keys))
    if 2 * distinct > len(rows.frame):
        return f"{len(rows.frame)} rows"
    return (
        f"{len(rows.frame)} rows, {distinct} of them distinct: this workspace was begun with "
        "Perdure 0.1.0 and keeps equal rows on one side; perdure init makes one that does not"
    )


def numbers_of(
    ws: Workspace,
    spec: FeatureSpec,
    measured_on: pd.DataFrame,
    newest: str,
    candidate: NDArray[Any],
    champion: NDArray[Any] | None,
    before: Metrics | None,
    earlier: Matrix | None,
) -> Evaluation:
    """All numbers that the gates need, from the outputs on the evaluation rows.

    Args:
        ws: The workspace.
        spec: The features and the target.
        measured_on: The evaluation rows, as `evaluation.rows` gives them.
        newest: The experience that the candidate learned last.
        candidate: Its outputs on these rows.
        champion: The champion's; None: there is none.
        before: The prequential metrics, handed on.
        earlier: The parent's accuracy matrix.

    Raises:
        ConfigError: A slice or a gate of the user's own does not suit the rows.
        Fault: A gate of the user's own raised an exception.
    """
    import numpy as np

    gates, task, window = ws.config.gates, spec.task, ws.config.evaluation.window
    truth, owners = training.truth(spec, measured_on), measured_on[evaluation.EXPERIENCE].tolist()

    def of(outputs: NDArray[Any]) -> Measured:
        return evaluation.measure(task, truth, outputs, owners, newest, window)

    finite = np.isfinite(candidate).reshape(len(candidate), -1).all(axis=1)
    classifies = task == "classification"
    return evaluation.summarise(
        metric=ws.config.metric,
        candidate=of(candidate),
        champion=None if champion is None else of(champion),
        baseline=of(evaluation.constant(task, truth, spec.outputs)).average,
        prequential=before,
        earlier=earlier,
        newest=newest,
        window=window,
        rows_measured=len(measured_on),
        comparisons=evaluation.compare(
            task,
            ws.config.metric,
            truth,
            candidate,
            champion,
            owners,
            newest,
            half_life=gates.past_half_life or np.inf,
            slices=slices(ws, measured_on),
        ),
        classes=evaluation.predicted(truth, candidate, champion) if classifies else None,
        not_finite=int((~finite).sum()),
        own=own_gates.ask(ws, truth, candidate, champion, measured_on),
    )


def slices(ws: Workspace, frame: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """By name which rows belong to each slice of `[[gates.slices]]`, (rows,).

    Raises:
        ConfigError: A condition names a column that is missing, or does not suit its values.
    """
    found = {}
    for place, one in enumerate(ws.config.gates.slices):
        try:
            found[one.title] = expressions.parse(one.where).rows(frame)
        except ValueError as error:
            fault = f"gates.slices.{place}.where = {one.where!r}: {error}"
            raise ConfigError(CONFIG_NAME, [fault]) from error
    return found


def markdown(experience: str, version: int, numbers: Evaluation, verdict: Verdict) -> str:
    """A learning step as a page: the verdict with every gate, and the numbers."""
    head = [
        f"# {experience}: version {version} {verdict_table.summary(verdict)}",
        "",
    ]
    head += [verdict_table.markdown(verdict)]
    head += ["", *(f"- {escaping.markdown(message)}" for message in verdict.refusals)]
    head += ["", "## Numbers"]
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
    tail += _before(numbers.arrival, numbers.drift)
    return "\n".join(head + table + tail)


def arrival_markdown(shown: Arrival, reasons: Sequence[str], drift: Drift | None) -> str:
    """An experience that moved the model, or that is broken, as a page."""
    head = [f"# {shown.experience}: {arrival_table.outcome(shown)}", ""]
    head += [f"- {escaping.markdown(reason)}" for reason in reasons]
    return "\n".join([*head, *_before(shown, drift)])


def _before(arrival: Arrival | None, drift: Drift | None) -> list[str]:
    """What the experience showed before anything learned from it, as sections of a page."""
    found: list[str] = []
    if arrival is not None:
        found += ["", "## Who might serve", "", arrival_table.markdown(arrival)]
        found += ["", arrival_table.CAPTION]
    if drift is not None:
        summary = escaping.markdown(drift_table.summary(drift))
        found += ["", f"## Drift: {summary}", "", drift_table.markdown(drift)]
    return found
