"""Avalanche's training loop with whole batches and no idle callbacks.

Importing it imports Avalanche.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from perdure.strategies.parallel.group import ALONE, Group
from perdure.strategies.plugins.base import EvaluationPlugin, SupervisedPlugin, SupervisedTemplate
from perdure.strategies.training.compilation import compiled
from perdure.strategies.training.devices import BatchPrefetcher
from perdure.strategies.training.loader import BatchLoader
from perdure.strategies.training.precision import Precision
from perdure.strategies.training.steps import Steps, normalises
from perdure.strategies.training.stopping import Stopping

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
        criterion_for: Callable[[Tensor], Callable[[Tensor, Tensor], Tensor]] | None = None,
        fresh: Callable[[], nn.Module] | None = None,
        steps: Steps | None = None,
        precision: Precision | None = None,
        stopping: Stopping | None = None,
        rows_device: torch.device | None = None,
        group: Group = ALONE,
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
        self._criterion_for = criterion_for
        self.fresh = fresh
        """Makes a new model, with first weights from torch's random stream."""
        self._stop_training = False
        self.steps = steps or Steps()
        self.precision = precision or Precision()
        self.stopping = stopping
        self.rows_device = rows_device or device
        """Where rows are kept, also those of a memory: `device`, or the CPU if they do not fit."""
        self.group = group
        """The processes that learn together. Of a batch, `mb_x` is of this one's rows; everything
        else, the outputs and the loss among it, is of the whole batch."""
        self.drawn: list[Tensor] = []
        """The current batch as the loader gave it: before augmentation, perhaps on the CPU."""
        self._prefetcher = BatchPrefetcher(device)
        self._compiled: tuple[nn.Module, Callable[[Tensor], Tensor]] | None = None
        self._drops_single = normalises(model)
        self._gathered = self._expected = 0.0
        self._batches = 0
        owners = [p.objective for p in plugins if hasattr(p, "objective")]
        if len(owners) > 1:
            raise ValueError(f"{len(owners)} plugins want to be the loss; one can")
        self._objective: Callable[[Template], Tensor] | None = owners[0] if owners else None

    @property
    def new_rows(self) -> int:
        """How many rows of the current batch are new; they come first, memory after them."""
        return int(getattr(self.dataloader, "new_rows", len(self.mbatch[1])))

    @property
    def mb_task_id(self) -> Tensor:
        """Task labels of the current batch; Avalanche gives the last column, perhaps another."""
        labels: Tensor = self.mbatch[2]
        return labels

    def outputs(self, x: Tensor) -> Tensor:
        """The model's outputs, float32 (rows, outputs), in the precision that is configured."""
        if not self.steps.compile:
            return self.precision.outputs(self.model, x)
        if self._compiled is None or self._compiled[0] is not self.model:
            self._compiled = self.model, compiled(self.model)
        return self.precision.outputs(self._compiled[1], x)

    def forward(self) -> Tensor:
        """Outputs of the current batch, of which each process computes those of its rows."""
        with self.group.own_draws():
            mine = self.outputs(self.mb_x)
        return self.group.whole(mine, len(self.mbatch[1]))

    def criterion(self) -> Tensor:
        """The loss of the current batch: the plugin's that owns it, else the criterion's."""
        if self._objective is not None:
            return self._objective(self)
        loss: Tensor = self._criterion(self.mb_output, self.mb_y)
        return loss

    def training_epoch(self, **kwargs: Any) -> None:
        """One pass over the loader's batches.

        A group of batches that the end of the pass leaves incomplete makes its step then.
        """
        begun = False
        for drawn in self._drawn_batches():
            if self._stop_training:
                break
            self.drawn = drawn
            self.mbatch = batch = self._received(drawn)
            if self._drops_single and len(batch[1]) == 1:
                continue
            self._before_training_iteration(**kwargs)
            if not begun:
                self.optimizer.zero_grad()
            self._before_forward(**kwargs)
            self.mb_output = self.forward()
            self._after_forward(**kwargs)
            self.loss = self.criterion()
            self._before_backward(**kwargs)
            begun = self._backward(begun)
            self._after_backward(**kwargs)
            if not begun:
                self._step(**kwargs)
            self._after_training_iteration(**kwargs)
        if begun:
            self._step(**kwargs)

    def _drawn_batches(self) -> Iterable[list[Tensor]]:
        batches: Iterable[list[Tensor]] = self.dataloader
        return batches if self.group.alone else self.dataloader.shared(self.group)

    def _received(self, batch: list[Tensor]) -> list[Tensor]:
        """A batch as it is learned from: on the device, and augmented."""
        batch = self._prefetcher(batch)
        if self.steps.augment is not None:
            with self.group.own_draws():
                batch = [self.steps.augment(batch[0]), *batch[1:]]
        return batch

    def _backward(self, begun: bool) -> bool:
        """Add the batch's gradients; whether more of its group are to come."""
        if self.steps.accumulate == 1:
            self.precision.backward(self.loss)
            return False
        # Each batch by its share of the group's rows: their sum is the gradient of one large
        # batch. How many rows there will be is not known yet, so full batches are expected.
        rows = self._counted()
        if not begun:
            self._gathered, self._batches = 0, 0
            self._expected = rows * self.steps.accumulate
        self._gathered += rows
        self._batches += 1
        self.precision.backward(self.loss * (rows / self._expected))
        return self._batches < self.steps.accumulate

    def _counted(self) -> float:
        """How many rows the batch has; with class weights, what its loss is divided by."""
        y, weights = self.mbatch[1], None
        if isinstance(self._criterion, nn.CrossEntropyLoss) and self._objective is None:
            weights = self._criterion.weight
        return len(y) if weights is None else float(weights[y].sum())

    def _step(self, **kwargs: Any) -> None:
        """Change the weights, unless float16 gradients overflowed."""
        self.group.sum_gradients(self.model)
        if self.precision.unscale(self.optimizer):
            if self.steps.l1 or self._gathered != self._expected:
                self._complete()
            self._before_update(**kwargs)
            if self.steps.clip_norm is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.steps.clip_norm)
            self.optimizer.step()
            self._after_update(**kwargs)
        self.precision.stepped()

    @torch.no_grad()
    def _complete(self) -> None:
        """Gradients of the whole group, whatever its rows count, and of the L1 penalty."""
        trained = [p for p in self.model.parameters() if p.grad is not None]
        gradients = [p.grad for p in trained if p.grad is not None]
        if self._gathered != self._expected:
            torch._foreach_mul_(gradients, self._expected / self._gathered)
        if self.steps.l1:
            signs = torch._foreach_sign(trained)  # noqa: SLF001 (no public name)
            torch._foreach_add_(gradients, signs, alpha=self.steps.l1)

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        """All epochs, or fewer; then the best epoch's weights, before any plugin looks at them."""
        for _ in range(self.train_epochs):
            if self._stop_training:
                break
            self._before_training_epoch(**kwargs)
            self.training_epoch(**kwargs)
            self._after_training_epoch(**kwargs)
            self.group.check_same(self.model)
            if self.stopping is not None and self.stopping.see(
                self.model, self.optimizer, self.precision
            ):
                break
        self._stop_training = False
        if self.stopping is not None:
            self.stopping.rewind(self.model, self.optimizer, self.precision)

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

    def _after_train_dataset_adaptation(self, **kwargs: Any) -> None:
        """Which rows are trained on is settled; balanced class weights are those of these rows."""
        super()._after_train_dataset_adaptation(**kwargs)
        if self._criterion_for is not None:
            self._criterion = self._criterion_for(self.adapted_dataset.tensors[1])

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
