"""What people read on MLflow's pages: descriptions, parameters, metrics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from perdure import verdict_table
from perdure.config import Config
from perdure.records import Evaluation, Measured, Trained, Verdict

DESCRIPTION = 4900
"""Characters of a description that every MLflow database takes."""


def model_description(config: Config) -> str:
    """Of the registered model."""
    return (
        f"Predicts **{config.data.target}** ({config.data.task}). Kept learning by "
        f"Perdure: every version holds one whole learner and went through the gates.\n\n"
        f"- `champion` serves: `mlflow.pyfunc.load_model("
        f'"models:/{config.model.name}@champion")`\n'
        f"- `challenger` is what training goes on from\n"
        f"- the experiment `{config.model.name}/history` says who changed what, when and why\n"
    )


def version_description(
    experience: str,
    strategy: Sequence[str],
    cursor: int,
    parent: int | None,
    verdict: Verdict | None,
) -> str:
    """Of a model version: what it learned, the verdict, and every gate's finding."""
    origin = f"from v{parent}" if parent is not None else "from nothing"
    lines = [
        f"Learned `{experience}` {origin} with {verdict_table.escape(' + '.join(strategy))}; "
        f"{cursor} experience{'s' if cursor != 1 else ''} in all.",
        "",
        f"**Verdict: {word(verdict)}**",
    ]
    head = "\n".join(lines) + "\n"
    if verdict is None:
        return head
    # Half of the room is for the table, and the rest for what was refused, in words.
    table = verdict_table.markdown(verdict, DESCRIPTION // 2)
    words = [f"- {verdict_table.escape(message)}" for message in verdict.refusals]
    text = "\n".join([head, table, "", *words]) + "\n"
    return text if len(text) <= DESCRIPTION else text[: DESCRIPTION - 2] + "…\n"


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
        "epochs": training.epochs,
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
    return {name: str(value)[:5000] for name, value in values.items()}


def metrics(trained: Trained, evaluation: Evaluation) -> Iterator[tuple[str, float, int]]:
    """Metrics of a learning run as name, value, step; only finite ones.

    Losses have the epoch as step; `by_experience` the place in the matrix (at most
    `evaluation.window`); all others stand once.
    """
    yield from (triple for triple in _metrics(trained, evaluation) if math.isfinite(triple[1]))


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
    if evaluation.forgetting is not None:
        yield "forgetting", evaluation.forgetting, 0
    if evaluation.backward_transfer is not None:
        yield "backward_transfer", evaluation.backward_transfer, 0
    latest = evaluation.matrix.values[-1] if evaluation.matrix.values else ()
    for step, value in enumerate(latest):
        if value is not None:
            yield f"by_experience/{evaluation.matrix.metric}", value, step


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
