"""Dark experience replay; see `perdure.strategies.der` and `perdure.strategies.derpp`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, pad

from perdure.strategies.learner.state import State
from perdure.strategies.plugins.base import Plugin, SupervisedTemplate
from perdure.strategies.plugins.memory import Memory, columns_of
from perdure.strategies.plugins.model_state import outputs
from perdure.strategies.training.loader import BatchLoader

LOGITS, KNOWN = "logits", "known"


class Der(Plugin):
    """Replay of rows together with the outputs that the model had for them.

    Args:
        size: Rows held at most.
        batch_size: Memory rows in a batch; None: as many as new ones.
        alpha: Weight of the distance to the outputs that were kept.
        beta: Weight of the memory rows' own loss; 0 in DER.
    """

    def __init__(self, size: int, batch_size: int | None, alpha: float, beta: float) -> None:
        super().__init__()
        self.memory = Memory(size, beside=(LOGITS, KNOWN))
        self.alpha, self.beta = alpha, beta
        self._batch_size = batch_size
        self._whole = self._same = True
        self._kept: tuple[Tensor, ...] = ()

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Mix the memory into the batches; each of its rows brings its place in the memory."""
        if not len(self.memory):
            return
        new, held = strategy.adapted_dataset.tensors, self.memory.rows
        places = torch.arange(len(held[0]), device=held[0].device)
        strategy.dataloader = BatchLoader(
            (*new, torch.zeros_like(new[2])),
            strategy.train_mb_size,
            (*held, places),
            self._batch_size or strategy.train_mb_size,
        )
        self._whole = False

    def objective(self, strategy: Any) -> Tensor:
        """ℓ(new) + α · MSE(outputs, kept outputs) + β · ℓ(memory), a scalar."""
        found, y = strategy.mb_output, strategy.mb_y
        loss: Tensor
        if not len(self.memory):
            loss = strategy._criterion(found, y)  # noqa: SLF001 (Avalanche's own plugins do)
            return loss
        if not self._whole:
            self._widen(found.shape[1], found.device)
        count = strategy.new_rows
        loss = strategy._criterion(found[:count], y[:count])  # noqa: SLF001 (as above)
        if self.alpha:
            place = strategy.mbatch[3][count:]
            loss = loss + self.alpha * self._distance(found[count:], place)
        if self.beta:
            memory = strategy._criterion(found[count:], y[count:])  # noqa: SLF001 (as above)
            loss = loss + self.beta * memory
        return loss

    def _distance(self, found: Tensor, place: Tensor) -> Tensor:
        """Mean squared distance to the outputs that were there when each row was kept."""
        logits, counts = self._kept
        kept = logits.index_select(0, place)
        if self._same:
            return mse_loss(found, kept)
        known = counts.index_select(0, place)
        there = torch.arange(found.shape[1], device=found.device) < known.unsqueeze(1)
        return ((found - kept).square() * there).sum() / there.sum()

    def _widen(self, width: int, device: torch.device) -> None:
        """Once: make room for outputs that are new; they are compared with nothing.

        The outputs are needed where the model is, wherever the rows are kept.
        """
        logits, known = self.memory.columns[LOGITS], self.memory.columns[KNOWN]
        if logits.shape[1] < width:
            logits = pad(logits, (0, width - logits.shape[1]))
            self.memory.columns[LOGITS] = logits
        self._kept = logits.to(device), known.to(device)
        self._same = bool((known == width).all())
        self._whole = True

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Let the rows just learned into the memory, with what the model says of them now."""
        new = columns_of(strategy.experience.dataset)
        width = outputs(strategy, new["x"][:1]).shape[1]
        if len(self.memory):
            self._widen(width, strategy.device)
        count = len(new["x"])
        # One row of zeros, shown as many: no outputs are computed of rows that are not kept.
        new[LOGITS] = torch.zeros(1, width, device=new["x"].device).expand(count, width)
        new[KNOWN] = torch.full_like(new["task"], width)
        places = self.memory.add(new)
        fresh = (places >= 0).nonzero()[:, 0].to(new["x"].device)
        if len(fresh):
            logits = outputs(strategy, self.memory.columns["x"].index_select(0, fresh))
            self.memory.columns[LOGITS].index_copy_(0, fresh, logits.to(fresh.device))

    def state(self) -> State:
        """`x`, `y`, `task`, `weight`, `logits` and `known`."""
        return self.memory.state()

    def restore(self, state: State, strategy: SupervisedTemplate) -> None:
        """Hold the rows again."""
        self.memory.restore(state, strategy)
