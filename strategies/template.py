"""Avalanche's training loop with whole batches and no idle callbacks.

Importing it imports Avalanche.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from perdure.strategies.loader import BatchLoader
from perdure.strategies.plugins.base import EvaluationPlugin, SupervisedPlugin, SupervisedTemplate

_EVENTS = tuple(
    f"{when}_{what}"
    for what in ("training_iteration", "forward", "backward", "update")
    for when in ("before", "after")
)


def _cached(event: str) -> Callable[..., None]:
    def call(self: Template, **kwargs: Any) -> None:
        for callback in self._callbacks[event]:
            callback(self, **kwargs)

    return call


class Template(SupervisedTemplate):  # type: ignore[misc]  # Avalanche is untyped
    """A `SupervisedTemplate` that is fast on tensors in memory.

    The same mathematics and the same random numbers as the stock template. Two things are
    done once instead of at every step: looking up which plugins listen to an event, and
    collecting rows into batches.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        criterion: Callable[[Tensor, Tensor], Tensor],
        batch_size: int,
        epochs: int,
        device: torch.device,
        plugins: Sequence[Any],
    ) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "No loggers specified")
            silent = EvaluationPlugin()
        super().__init__(
            model=model,
            optimizer=optimizer,
            criterion=criterion,
            train_mb_size=batch_size,
            train_epochs=epochs,
            device=device,
            plugins=plugins,
            evaluator=silent,
        )
        # Else the first `train` would wipe the optimizer's state (avalanche-lib 0.6.0).
        self.optimized_param_id = dict(model.named_parameters())
        self._callbacks: dict[str, list[Callable[..., Any]]] = {}

    def _before_training(self, **kwargs: Any) -> None:
        self._callbacks = {event: self._listeners(event) for event in _EVENTS}
        super()._before_training(**kwargs)

    def _listeners(self, event: str) -> list[Callable[..., Any]]:
        # An evaluator without metrics answers to every event and does nothing.
        idle = getattr(SupervisedPlugin, event)
        return [
            getattr(plugin, event)
            for plugin in self.plugins
            if plugin is not self.evaluator and getattr(type(plugin), event, idle) is not idle
        ]

    def make_train_dataloader(self, **kwargs: Any) -> None:
        """Batches of the new rows; a plugin may put its own loader in place."""
        self.dataloader = BatchLoader(self.adapted_dataset.tensors, self.train_mb_size)

    def train_dataset_adaptation(self, **kwargs: Any) -> None:
        """Train on the experience's tensors as they are; Avalanche would copy the dataset."""
        self.adapted_dataset = self.experience.dataset

    _before_training_iteration = _cached("before_training_iteration")
    _after_training_iteration = _cached("after_training_iteration")
    _before_forward = _cached("before_forward")
    _after_forward = _cached("after_forward")
    _before_backward = _cached("before_backward")
    _after_backward = _cached("after_backward")
    _before_update = _cached("before_update")
    _after_update = _cached("after_update")
