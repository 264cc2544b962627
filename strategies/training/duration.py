"""How long an experience is learned, where perdure.toml does not say."""

from __future__ import annotations

import math
from dataclasses import dataclass

from perdure.config import TrainingConfig

STEPS = 300
"""For the first experience, where it is small; later ones get as much of it as they are of all
rows so far, for the learner knows the rest already."""
UNWATCHED = 0.5
"""Share of it where no row is held out for validation: nothing shows when it is enough."""
FEWEST, MOST = 10, 200
"""Epochs: the fewest of a large experience, the most of a small one."""
PATIENCE = 0.1
"""Share of the epochs without a lower validation loss after which training stops."""
LEAST_PATIENCE = 5
"""Epochs."""


@dataclass(frozen=True)
class Duration:
    """How long an experience is learned.

    Attributes:
        epochs: At most.
        patience: See `Stopping`; None: all epochs are learned.
        sure: See `Stopping`.
    """

    epochs: int
    patience: int | None
    sure: bool = False


def chosen(training: TrainingConfig, edition: int) -> bool:
    """Whether perdure.toml leaves it to Perdure when training stops."""
    return training.epochs is None and training.patience is None and edition > 1


def choose(
    training: TrainingConfig, rows: int, watched: int, share: float, edition: int
) -> Duration:
    """As perdure.toml says, or by the number of rows.

    A file of few rows has few steps in an epoch: ten epochs of 48 rows are ten steps, which
    learn nothing.

    Args:
        training: The configuration.
        rows: What an epoch goes through: training rows of the experience, and those of before
            that a strategy joins to them.
        watched: Validation rows.
        share: Of the experience in all rows so far, above 0 to 1.
        edition: Of the learner's defaults, see `Recipe`.
    """
    if training.epochs is not None:
        return Duration(training.epochs, training.patience)
    if edition == 1:
        return Duration(FEWEST, training.patience)
    steps = STEPS * share * (1.0 if watched else UNWATCHED)
    epochs = math.ceil(steps / math.ceil(rows / training.batch_size))
    if epochs <= FEWEST:
        return Duration(FEWEST, training.patience)
    epochs = min(MOST, epochs)
    if training.patience is not None:
        return Duration(epochs, training.patience)
    return Duration(epochs, max(LEAST_PATIENCE, round(epochs * PATIENCE)), sure=True)
