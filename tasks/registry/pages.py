"""What people read on MLflow's pages: descriptions, parameters, metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from perdure import arrival_table, drift_table, escaping, verdict_table
from perdure.config import Config
from perdure.records import Evaluation, Level, Measured, Trained, Verdict

DESCRIPTION = 4900
"""Characters of a description that every MLflow database takes."""


BEFORE = "## Before it was learned"
"""Heading of the part about drift and the tournament, which a verdict does not change."""
MOST_BEFORE = 1800
"""Characters of that part."""
ENVIRONMENT = "environment."
"""Begins the names of the parameters that say on what a training ran."""
LEVELS: Mapping[Level, float] = {"as ever": 0.0, "drifting": 1.0, "broken": 2.0}
"""The metric `drift_level`."""


def model_description(config: Config) -> str:
    """Description of the registered model."""
    name = config.model.name
    load = escaping.markdown_code(f'mlflow.pyfunc.load_model("models:/{name}@champion")')
    history = escaping.markdown_code(f"{name}/history")
    return (
        f"Predicts **{escaping.markdown(config.data.target)}** ({config.data.task}). Kept learning "
        f"by Perdure: every version holds one whole learner and went through the gates.\n\n"
        f"- `champion` serves: {load}\n"
        f"- `challenger` is what training goes on from\n"
        f"- the experiment {history} says who changed what, when and why\n"
    )


def version_description(
    experience: str,
    strategy: Sequence[str],
    cursor: int,
    parent: int | None,
    verdict: Verdict | None,
    before: str = "",
) -> str:
    """Description of a model version: what it learned, the verdict, and every gate's finding.

    Args:
        experience: What it learned last.
        strategy: Names of the strategies.
        cursor: How many experiences it has learned.
        parent: The version that it went on from.
        verdict: None: not judged yet.
        before: What `before_learning` or `part_before` gives.
    """
    limit = DESCRIPTION - len(before)
    origin = f"from v{parent}" if parent is not None else "from nothing"
    lines = [
        f"Learned `{experience}` {origin} with {escaping.markdown(' + '.join(strategy))}; "
        f"{cursor} experience{'s' if cursor != 1 else ''} in all.",
        "",
        f"**Verdict: {word(verdict)}**",
    ]
    head = "\n".join(lines) + "\n"
    if verdict is None:
        return head + before
    # Half of the room is for the table, and the rest for what was refused, in words.
    table = verdict_table.markdown(verdict, limit // 2)
    words = [f"- {escaping.markdown(message)}" for message in verdict.refusals]
    text = "\n".join([head, table, "", *words]) + "\n"
    return (text if len(text) <= limit else text[: limit - 2] + "…\n") + before


def before_learning(evaluation: Evaluation) -> str:
    """What the experience showed before anything learned from it, as a part of a description.

    Of many columns those that moved most, as many as fit.
    """
    arrival, drift = evaluation.arrival, evaluation.drift
    if arrival is None and drift is None:
        return ""
    text = f"\n{BEFORE}\n"
    if arrival is not None:
        text += f"\n{arrival_table.markdown(arrival)}\n"
    if drift is None:
        return text
    text += f"\nDrift: {escaping.markdown(drift_table.summary(drift))}\n"
    for most in range(drift_table.MOST, 0, -1):
        table = f"\n{drift_table.markdown(drift, most)}\n"
        if len(text) + len(table) <= MOST_BEFORE:
            return text + table
    return text


def part_before(description: str | None) -> str:
    """The part of a version's description that `before_learning` made; empty: there is none."""
    _, heading, rest = (description or "").partition(f"\n{BEFORE}\n")
    return heading + rest


def word(verdict: Verdict | None) -> str:
    """`passed`, `refused`, what becomes of one that is undecided, or `not judged yet`."""
    if verdict is None:
        return "not judged yet"
    return verdict_table.summary(verdict)


def parameters(
    config: Config, experience: str, trained: Trained, evaluation: Evaluation
) -> dict[str, str]:
    """Parameters of a learning run: everything that one compares runs by."""
    training = config.training
    values: dict[str, Any] = {
        "experience": experience,
        "strategy": " + ".join(strategy.name for strategy in training.strategies),
        "epochs": training.epochs or len(trained.epochs),
        "batch_size": training.batch_size,
        "optimizer": training.optimizer.name,
        "learning_rate": training.learning_rate,
        "seed": training.seed,
        "device": training.device,
        "model": config.model.factory,
        "rows_trained": trained.rows,
        "rows_tested": evaluation.rows,
    }
    for strategy in training.strategies:
        values |= {f"{strategy.name}.{key}": value for key, value in strategy.settings.items()}
    values |= {f"model.{key}": value for key, value in config.model.parameters.items()}
    values |= {f"{ENVIRONMENT}{key}": value for key, value in trained.environment.items()}
    return {name: str(value)[:5000] for name, value in values.items()}


def metrics(trained: Trained, evaluation: Evaluation) -> Iterator[tuple[str, float, int]]:
    """Metrics of a learning run as name, value, step; only finite ones.

    Losses have the epoch as step; all others stand once.
    """
    yield from (triple for triple in _metrics(trained, evaluation) if math.isfinite(triple[1]))


def life(evaluation: Evaluation) -> Iterator[tuple[str, float]]:
    """What one learning step adds to the model's life, as name and value; only finite ones."""
    yield from ((name, value) for name, value in _life(evaluation) if math.isfinite(value))


def _life(evaluation: Evaluation) -> Iterator[tuple[str, float]]:
    champion = evaluation.champion.average if evaluation.champion else None
    for prefix, values in (
        ("test", evaluation.candidate.average),
        ("champion", champion),
        ("prequential", evaluation.prequential),
    ):
        yield from ((name, value) for name, value, _ in _named(prefix, values))
    yield from _over_time(evaluation)


def _metrics(trained: Trained, evaluation: Evaluation) -> Iterator[tuple[str, float, int]]:
    for epoch in trained.epochs:
        yield "train/loss", epoch.loss, epoch.number
        if epoch.validation_loss is not None:
            yield "validation/loss", epoch.validation_loss, epoch.number
        if epoch.learning_rate is not None:
            yield "train/learning_rate", epoch.learning_rate, epoch.number
    yield "train/seconds", trained.seconds, 0
    for name, value in (
        ("rows_per_second", trained.rows_per_second),
        ("best_epoch", trained.best_epoch),
        ("accelerator_mebibytes", _mebibytes(trained.accelerator_bytes)),
    ):
        if value is not None:
            yield f"train/{name}", float(value), 0
    yield from _measured("test", evaluation.candidate)
    if evaluation.champion is not None:
        yield from _measured("champion", evaluation.champion)
    yield from _named("baseline", evaluation.baseline)
    yield from _named("prequential", evaluation.prequential)
    yield from ((name, value, 0) for name, value in _over_time(evaluation))


def _over_time(evaluation: Evaluation) -> Iterator[tuple[str, float]]:
    """What was forgotten, what helped earlier experiences, and how far the new one was."""
    if evaluation.forgetting is not None:
        yield "forgetting", evaluation.forgetting
    if evaluation.backward_transfer is not None:
        yield "backward_transfer", evaluation.backward_transfer
    yield from _drift(evaluation)


def _drift(evaluation: Evaluation) -> Iterator[tuple[str, float]]:
    """The distances in units of their thresholds, above 1 is drift; and the level, 0 to 2."""
    history = evaluation.drift_history
    if evaluation.drift is None or not history:
        return
    # All columns of the history, so that one has the same name in every version.
    columns = sorted({column for point in history for column in point.columns})
    names = _metric_names("drift", columns, taken=("all",))
    yield "drift_level", LEVELS[history[-1].level]
    yield "drift/all", history[-1].joint
    for column, ratio in history[-1].columns.items():
        yield names[column], ratio


def _metric_names(prefix: str, columns: Sequence[str], taken: Sequence[str]) -> dict[str, str]:
    """A name that MLflow takes for each column: letters, digits, `_`, `-`, `.` and blanks."""
    found: dict[str, str] = {}
    used = set(taken)
    for column in columns:
        plain = re.sub(r"[^\w.\- ]", "_", column)[:200]
        if not plain.strip("."):  # MLflow reads a name as a path: no `.` and `..`
            plain = "_" * max(1, len(plain))
        name, count = plain, 1
        while name in used:
            count += 1
            name = f"{plain}-{count}"
        used.add(name)
        found[column] = f"{prefix}/{name}"
    return found


def _mebibytes(count: int | None) -> float | None:
    return None if count is None else count / 2**20


def _measured(prefix: str, measured: Measured) -> Iterator[tuple[str, float, int]]:
    for part, values in (
        ("new", measured.new),
        ("past", measured.past),
        ("average", measured.average),
    ):
        for name, value, step in _named("", values):
            yield f"{prefix}{name}/{part}", value, step


def _named(prefix: str, values: Mapping[str, float] | None) -> Iterator[tuple[str, float, int]]:
    for name, value in (values or {}).items():
        yield f"{prefix}/{name}", value, 0
