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
        fresh: Callable[[], nn.Module] | None = None,
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
        self.fresh = fresh
        """Makes the model anew, with first weights from torch's random stream."""
        owners = [p.objective for p in plugins if hasattr(p, "objective")]
        if len(owners) > 1:
            raise ValueError(f"{len(owners)} plugins want to be the loss; one can")
        self._objective: Callable[[Template], Tensor] | None = owners[0] if owners else None

    @property
    def new_rows(self) -> int:
        """How many rows of the current batch are new; they come first, memory after them."""
        return int(getattr(self.dataloader, "new_rows", len(self.mbatch[1])))

    def outputs(self, x: Tensor) -> Tensor:
        """The model's outputs, float32 (rows, outputs), in the precision that is configured."""
        result: Tensor = self.model(x)
        return result

    def forward(self) -> Tensor:
        """Outputs of the current batch."""
        return self.outputs(self.mb_x)

    def criterion(self) -> Tensor:
        """The loss of the current batch: the plugin's that owns it, else the criterion's."""
        if self._objective is not None:
            return self._objective(self)
        loss: Tensor = self._criterion(self.mb_output, self.mb_y)
        return loss

    def training_epoch(self, **kwargs: Any) -> None:
        """One pass over the loader's batches."""
        for batch in self.dataloader:
            if self._stop_training:
                break
            self.mbatch = batch
            self._before_training_iteration(**kwargs)
            self.optimizer.zero_grad()
            self._before_forward(**kwargs)
            self.mb_output = self.forward()
            self._after_forward(**kwargs)
            self.loss = self.criterion()
            self._before_backward(**kwargs)
            self.loss.backward()
            self._after_backward(**kwargs)
            self._before_update(**kwargs)
            self.optimizer.step()
            self._after_update(**kwargs)
            self._after_training_iteration(**kwargs)

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

    # What changes gradients does so before the update: there they are whole (not scaled, all
    # batches of an accumulation in them), and it is called once for each step.
    _before_training_iteration = _cached("before_training_iteration")
    _after_training_iteration = _cached("after_training_iteration")
    _before_forward = _cached("before_forward")
    _after_forward = _cached("after_forward")
    _before_backward = _cached("before_backward")
    _after_backward = _cached("after_backward")
    _before_update = _cached("before_update")
    _after_update = _cached("after_update")
