"""The learning-rate schedule as a plugin; see `perdure.strategies.training.schedules`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perdure.config.training import ScheduleConfig
from perdure.records import Epoch
from perdure.strategies.plugins.base import Plugin
from perdure.strategies.training.schedules import Rates


class Schedule(Plugin):
    """Begins the schedule with each experience, and moves it on.

    Args:
        config: Which schedule.
        latest: The epoch that just ended.
    """

    def __init__(self, config: ScheduleConfig, latest: Callable[[], Epoch]) -> None:
        super().__init__()
        self._config, self._latest = config, latest
        self._rates: Rates | None = None

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """How many steps there will be is known now."""
        steps = -(-len(strategy.dataloader) // strategy.steps.accumulate)
        self._rates = Rates(self._config, strategy.optimizer, strategy.train_epochs, steps)

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        """A step was made."""
        if self._rates is not None:
            self._rates.after_step()

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """An epoch ended: the validation loss counts, or the training loss if there is none."""
        if self._rates is not None:
            epoch = self._latest()
            loss = epoch.loss if epoch.validation_loss is None else epoch.validation_loss
            self._rates.after_epoch(loss)
