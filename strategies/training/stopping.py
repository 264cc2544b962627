"""Early stopping on the validation loss, which always ends with the best epoch's weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from perdure.strategies.training.precision import Precision

SURE = 0.5
"""Standard errors."""


class Stopping:
    """Watches epochs, and goes back to the best.

    Avalanche's own restores the best weights only if patience ran out (avalanche-lib 0.6.0,
    `EarlyStoppingPlugin`); this one always does, with the buffers, the optimizer's state, the
    scale of float16 and what the strategies noted during the experience. Random streams go on.

    Args:
        patience: Epochs without improvement after which training stops.
        min_delta: A loss must be lower by more than this.
        plugins: Those that have `mark` and `rewind` are called with them.
        latest: The losses of the validation rows after the epoch that just ended, float64 (rows,);
            None: there are no such rows, and training goes through all epochs.
        sure: An epoch is better than the best so far only if the mean of the rows' differences is
            above half its standard error (after Breiman et al. 1984, who take a whole one): the
            best of many epochs on a few rows is else mostly the luckiest.
    """

    def __init__(
        self,
        patience: int,
        min_delta: float,
        plugins: Iterable[Any],
        latest: Callable[[], Tensor | None],
        *,
        sure: bool = False,
    ) -> None:
        self._patience, self._min_delta, self._latest = patience, min_delta, latest
        self._sure = sure
        self._plugins = [plugin for plugin in plugins if hasattr(plugin, "rewind")]
        self._least: Tensor | None = None
        self.epochs = 0
        """Epochs seen."""
        self.best: int | None = None
        """The epoch whose weights stay; None: there was no validation loss."""
        self._kept: tuple[dict[str, Tensor], dict[Any, dict[str, Any]], dict[str, Any]] | None
        self._kept = None

    def see(self, model: nn.Module, optimizer: torch.optim.Optimizer, precision: Precision) -> bool:
        """An epoch ended; whether training is to stop."""
        self.epochs += 1
        losses = self._latest()
        if losses is not None and self._better(losses):
            self._least, self.best = losses, self.epochs
            weights = {name: value.clone() for name, value in model.state_dict().items()}
            self._kept = weights, _copied(optimizer.state), precision.state()
            for plugin in self._plugins:
                plugin.mark()
        return self.best is not None and self.epochs - self.best >= self._patience

    def _better(self, losses: Tensor) -> bool:
        if self._least is None:
            return math.isfinite(float(losses.mean()))
        gains = self._least - losses
        needed = self._min_delta
        if self._sure and len(gains) > 1:
            needed = max(needed, SURE * float(gains.std()) / math.sqrt(len(gains)))
        return float(gains.mean()) > needed

    def rewind(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, precision: Precision
    ) -> None:
        """Go back to the best epoch, if it was not the last."""
        if self._kept is None or self.best == self.epochs:
            return
        weights, state, scale = self._kept
        model.load_state_dict(weights)
        optimizer.state.clear()
        optimizer.state.update(state)
        precision.restore(scale)
        for plugin in self._plugins:
            plugin.rewind()


def _copied(state: Any) -> dict[Any, dict[str, Any]]:
    return {
        parameter: {k: v.clone() if isinstance(v, Tensor) else v for k, v in values.items()}
        for parameter, values in state.items()
    }
