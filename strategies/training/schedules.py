"""How the learning rate goes within an experience, by `torch.optim.lr_scheduler`.

With the rate η of the configuration, step t of T, warm-up of w steps, epoch e from 0:

    warm-up       η (t + 1)/(w + 1) for t < w
    step          η · factor^⌊e / every⌋
    exponential   η · factor^e
    cosine        lowest + (η - lowest)(1 + cos(π (t - w)/(T - w)))/2 for t ≥ w
    plateau       times factor when the loss was no lower for more than `patience` epochs

The warm-up multiplies what the others say. Loshchilov and Hutter 2017 (cosine, without restarts),
https://arxiv.org/abs/1608.03983; Goyal et al. 2017 (warm-up), https://arxiv.org/abs/1706.02677.
"""

from __future__ import annotations

import torch
from torch.optim import lr_scheduler

from perdure.config.training import ScheduleConfig


class Rates:
    """The learning rates of one experience.

    Args:
        config: Which schedule.
        optimizer: Its rate is that of the configuration, and is changed.
        epochs: Passes over the rows.
        steps: Steps in each.
    """

    def __init__(
        self, config: ScheduleConfig, optimizer: torch.optim.Optimizer, epochs: int, steps: int
    ) -> None:
        total = max(1, epochs * steps)
        warm = config.warmup if isinstance(config.warmup, int) else round(config.warmup * total)
        settings = config.settings
        self._by_step: list[lr_scheduler.LRScheduler] = []
        self._by_epoch: list[lr_scheduler.LRScheduler] = []
        self._plateau: lr_scheduler.ReduceLROnPlateau | None = None
        if config.name == "step":
            self._by_epoch.append(
                lr_scheduler.StepLR(optimizer, settings["every"], settings["factor"])
            )
        elif config.name == "exponential":
            self._by_epoch.append(lr_scheduler.ExponentialLR(optimizer, settings["factor"]))
        elif config.name == "plateau":
            self._plateau = lr_scheduler.ReduceLROnPlateau(
                optimizer,
                factor=settings["factor"],
                patience=settings["patience"],
                min_lr=settings["lowest"],
            )
        rising = None
        if warm:
            rising = lr_scheduler.LinearLR(optimizer, 1 / (warm + 1), total_iters=warm)
        if config.name == "cosine" and warm < total:
            falling = lr_scheduler.CosineAnnealingLR(
                optimizer, total - warm, eta_min=settings["lowest"]
            )
            self._by_step.append(
                lr_scheduler.SequentialLR(optimizer, [rising, falling], [warm])
                if rising
                else falling
            )
        elif rising:
            self._by_step.append(rising)

    def after_step(self) -> None:
        """A step was made."""
        for schedule in self._by_step:
            schedule.step()

    def after_epoch(self, loss: float) -> None:
        """An epoch ended, with this loss."""
        for schedule in self._by_epoch:
            schedule.step()
        if self._plateau is not None:
            self._plateau.step(loss)
