"""Whether an experience can be learned from, and whether what was learned is of use."""

from __future__ import annotations

import math

import torch
from torch import nn

from perdure.config import CONFIG_NAME, TrainingConfig
from perdure.errors import ConfigError, DataRefused, Fault
from perdure.records import Epoch
from perdure.strategies.learner.learner import Learner
from perdure.strategies.training.steps import normalises


def rows_suffice(learner: Learner, experience_id: str, rows: int, training: TrainingConfig) -> None:
    """See that an experience has rows enough.

    Raises:
        DataRefused: There are too few.
        ConfigError: There are too few in a batch.
    """
    if rows == 0:
        raise DataRefused(f"experience {experience_id} has 0 training rows; at least 1 is needed")
    if not normalises(learner.model):
        return
    if training.batch_size == 1:
        raise ConfigError(
            str(learner.root / CONFIG_NAME),
            ["training.batch_size = 1: the model has batch normalisation, which needs at least 2"],
        )
    if rows == 1:
        raise DataRefused(
            f"experience {experience_id} has 1 training row; the model has batch normalisation, "
            "which needs at least 2"
        )


def finite(epochs: tuple[Epoch, ...], model: nn.Module) -> None:
    """See that losses and weights are numbers.

    Raises:
        Fault: They are not; training diverged.
    """
    hint = "a lower training.learning_rate, or a lower penalty, in perdure.toml"
    for epoch in epochs:
        if not math.isfinite(epoch.loss):
            raise Fault(
                f"training diverged: the loss is {epoch.loss} in epoch {epoch.number}", hint=hint
            )
    wrong = [n for n, p in model.named_parameters() if not torch.isfinite(p).all()]
    if wrong:
        raise Fault(f"training diverged: {', '.join(wrong)} are no longer finite", hint=hint)
