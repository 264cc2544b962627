"""Learn one experience: Avalanche's loop on a copy of the learner, and all of it put back."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from perdure.config import Config, TrainingConfig
from perdure.errors import DataRefused, Fault, UsageError
from perdure.progress import track
from perdure.records import Epoch, Trained
from perdure.strategies import catalogue, optimizers, randomness
from perdure.strategies.features import Array, Columns, encode, encode_target
from perdure.strategies.learner import CLOCK, Learner
from perdure.strategies.plugins.base import Remembering, TensorData, TensorExperience
from perdure.strategies.plugins.curve import Curve
from perdure.strategies.state import State
from perdure.strategies.template import Template


def learn(
    learner: Learner,
    experience_id: str,
    columns_train: Columns,
    target_train: Array,
    columns_val: Columns,
    target_val: Array,
    config: Config,
) -> Trained:
    """Train on one experience with the configured strategies.

    The learner is changed only when all has gone well. Nothing outside it and the arguments
    has an influence, the process's random streams and thread count least of all, and they
    are put back as they were.

    Args:
        learner: Gets the new weights, memory, streams and cursor.
        experience_id: Appended to the cursor.
        columns_train: Raw columns of the rows to learn.
        target_train: Their target, (rows,).
        columns_val: Raw columns of rows to watch only; may have no rows.
        target_val: Their target.
        config: `[training]` counts.

    Returns:
        Losses of each epoch. On the standardised target, in a regression.

    Raises:
        ConfigError: The strategies are wrong.
        DataRefused: The rows do not fit the features, or there is none to learn.
        UsageError: The experience was learned before, or the device is not there.
        Fault: The loss is no longer a number; the learner is as it was.
    """
    started = time.perf_counter()
    if experience_id in learner.cursor:
        raise UsageError(f"experience {experience_id} was learned already")
    training = config.training
    strategies = catalogue.chosen(config, Path())
    device = choose_device(training.device)
    x, y = _tensors(learner, columns_train, target_train, device)
    if len(x) == 0:
        raise DataRefused(f"experience {experience_id} has 0 training rows; at least 1 is needed")
    watched = _tensors(learner, columns_val, target_val, device)
    with _threads(training.threads), randomness.isolated(device):
        if device.type != "cpu":  # the first time on an accelerator its stream starts here
            randomness.seed(training.seed, device)
        randomness.restore(learner.streams, device)
        plugins = {s.name: s.plugin(settings) for s, settings in strategies if s.plugin}
        epochs = _train(learner, plugins, (x, y), watched, training, device, experience_id)
    return Trained(epochs, rows=len(x), seconds=time.perf_counter() - started)


def _train(
    learner: Learner,
    plugins: dict[str, Remembering],
    rows: tuple[Tensor, Tensor],
    watched: tuple[Tensor, Tensor],
    training: TrainingConfig,
    device: torch.device,
    experience_id: str,
) -> tuple[Epoch, ...]:
    model = copy.deepcopy(learner.model).to(device)
    optimizer = optimizers.make(training, model)
    optimizers.restore(optimizer, training.optimizer, model, learner.optimizer)
    loss = criterion(learner.spec.task)
    steps = training.epochs * -(-len(rows[0]) // training.batch_size)
    with track(f"learning {experience_id}", steps) as advance:
        curve = Curve(loss, watched, advance)
        strategy = Template(
            model=model,
            optimizer=optimizer,
            criterion=loss,
            batch_size=training.batch_size,
            epochs=training.epochs,
            device=device,
            plugins=[*plugins.values(), curve],
            fresh=lambda: learner.fresh().to(device),
        )
        for name in CLOCK:
            setattr(strategy.clock, name, learner.clock[name])
        for name, plugin in plugins.items():
            plugin.restore(learner.memory.get(name, State()), strategy)
        task = torch.zeros(len(rows[0]), dtype=torch.int64, device=device)
        number = learner.clock["train_exp_counter"]
        strategy.train(TensorExperience(TensorData((*rows, task)), number), eval_streams=[])
    _check_finite(curve.epochs, model)
    learner.memory = {name: plugin.state() for name, plugin in plugins.items()}
    learner.optimizer = optimizers.state_of(optimizer, training.optimizer, model)
    learner.clock = {name: getattr(strategy.clock, name) for name in CLOCK}
    learner.streams = {**learner.streams, **randomness.capture(device)}
    learner.model = model.to("cpu").eval()
    learner.cursor = (*learner.cursor, experience_id)
    return curve.epochs


def criterion(task: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Mean cross entropy, or mean squared error of the standardised target."""
    return nn.CrossEntropyLoss() if task == "classification" else nn.MSELoss()


def choose_device(name: str) -> torch.device:
    """The device of `training.device`; `auto` is CUDA where there is one, else the CPU.

    Raises:
        UsageError: The device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there[device.type]:
        raise UsageError(
            f"training.device = {name!r}, but there is no such device here; "
            f"torch sees {torch.cuda.device_count()} CUDA devices",
            hint='set training.device = "auto" in perdure.toml',
        )
    return device


def _tensors(
    learner: Learner, columns: Columns, target: Array, device: torch.device
) -> tuple[Tensor, Tensor]:
    x = learner.prepare(encode(learner.spec, columns))
    y = learner.output.standardise(encode_target(learner.spec, target))
    if len(x) != len(y):
        raise DataRefused(f"{len(x)} rows of features, but {len(y)} of the target")
    return x.to(device), y.to(device)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if number:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check_finite(epochs: tuple[Epoch, ...], model: nn.Module) -> None:
    hint = "a lower training.learning_rate, or a lower penalty, in perdure.toml"
    for epoch in epochs:
        if not math.isfinite(epoch.loss):
            raise Fault(
                f"training diverged: the loss is {epoch.loss} in epoch {epoch.number}", hint=hint
            )
    wrong = [n for n, p in model.named_parameters() if not torch.isfinite(p).all()]
    if wrong:
        raise Fault(f"training diverged: {', '.join(wrong)} are no longer finite", hint=hint)
