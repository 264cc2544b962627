"""Memory aware synapses; see `perdure.strategies.mas`."""

from __future__ import annotations

from typing import Any

from perdure.strategies.importance.fisher import sensitivity
from perdure.strategies.plugins.base import SupervisedTemplate
from perdure.strategies.plugins.quadratic import Quadratic, decayed_sum


class MemoryAwareSynapses(Quadratic):
    """Ω from how much the outputs hang on each weight.

    Args:
        penalty: λ ≥ 0.
        decay: γ, 0 to 1: how much of the importance outlives each later experience.
        rows: Rows that it is taken from, at most; None: all.
    """

    def __init__(self, penalty: float, decay: float, rows: int | None) -> None:
        super().__init__(penalty)
        self.decay, self.rows = decay, rows

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Ω ← γΩ + the sensitivity to this experience's rows; their targets do not matter."""
        x, _, _ = strategy.experience.dataset.tensors
        new = sensitivity(strategy.model, x, self.rows, strategy.group)
        self.importance = decayed_sum(self.importance, new, self.decay)
        super().after_training_exp(strategy, **kwargs)
