"""Learn one experience: Avalanche's loop on a copy of the learner, and all of it put back."""

from __future__ import annotations

import copy
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from perdure.config import Config, TrainingConfig
from perdure.errors import DataRefused, UsageError
from perdure.progress import track
from perdure.records import Trained
from perdure.strategies import catalogue
from perdure.strategies.features.columns import Array, Columns
from perdure.strategies.features.encoding import encode, encode_target
from perdure.strategies.features.modules import Prepare, prepared, rows_at_once
from perdure.strategies.learner import randomness
from perdure.strategies.learner.learner import CLOCK, Learner
from perdure.strategies.learner.state import State
from perdure.strategies.parallel import processes, ranks
from perdure.strategies.parallel.exchange import Rows
from perdure.strategies.parallel.group import ALONE, Group
from perdure.strategies.plugins.base import Remembering, TensorData, TensorExperience
from perdure.strategies.plugins.curve import Curve
from perdure.strategies.plugins.profile import Profile
from perdure.strategies.plugins.schedule import Schedule
from perdure.strategies.training import (
    augmentation,
    checks,
    compilation,
    devices,
    duration,
    environment,
    losses,
    optimizers,
    watching,
)
from perdure.strategies.training.duration import Duration
from perdure.strategies.training.precision import Precision
from perdure.strategies.training.steps import Steps
from perdure.strategies.training.stopping import Stopping
from perdure.strategies.training.template import Template

_WATCHED_ROWS = 4096
"""Validation rows at a time, at most."""


@dataclass(frozen=True)
class _Ready:
    """Prepared rows, where they are, and who learns them together."""

    x: Tensor
    y: Tensor
    watched: tuple[Tensor, Tensor]
    place: torch.device
    group: Group


def learn(
    learner: Learner,
    experience_id: str,
    columns_train: Columns,
    target_train: Array,
    columns_val: Columns,
    target_val: Array,
    config: Config,
    profile: Path | None = None,
    place: Path | None = None,
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
        config: `[model]`, `[data]` and `[training]` count, and `resources.processes`.
        profile: A folder for a trace of some steps and a table of the operators in them.
        place: Where several processes that learn together have their folder; None: among
            temporary files.

    Returns:
        Losses of each epoch. On the standardised target, in a regression.

    Raises:
        ConfigError: The strategies, or what is configured for other data, are wrong.
        DataRefused: The rows do not fit the features, or there is none to learn.
        UsageError: The experience was learned before, or the device is not there.
        Fault: The loss is no longer a number, the memory is not enough, or a process died; the
            learner is as it was.
    """
    started = time.perf_counter()
    if experience_id in learner.cursor:
        raise UsageError(f"experience {experience_id} was learned already")
    device, size = devices.choose_device(config.training.device), processes.count(config)

    def rows() -> Rows:
        with (
            devices.memory(device, config.training.batch_size),
            devices.threads(config.training.threads),
        ):
            return encoded(learner, columns_train, target_train, columns_val, target_val)

    # The rows are given away, so that they are not kept beside what is made of them.
    if size == 1:
        trained = learn_rows(learner, experience_id, rows(), config, device, ALONE, profile)
    else:
        catalogue.chosen(config, learner.root)
        processes.check_model(learner.model)
        gpus = device.type == "cuda"
        trained = ranks.learn(learner, experience_id, rows(), config, size, gpus, profile, place)
    return replace(trained, seconds=time.perf_counter() - started)


def encoded(
    learner: Learner,
    columns_train: Columns,
    target_train: Array,
    columns_val: Columns,
    target_val: Array,
) -> Rows:
    """Raw columns as the learner's features take them; see `learn`.

    Raises:
        DataRefused: The rows do not fit the features.
    """
    tensors: list[Tensor] = []
    for columns, target in ((columns_train, target_train), (columns_val, target_val)):
        x, y = encode(learner.spec, columns), encode_target(learner.spec, target)
        if len(x) != len(y):
            raise DataRefused(f"{len(x)} rows of features, but {len(y)} of the target")
        tensors += [x, y]
    return Rows(*tensors)


def learn_rows(
    learner: Learner,
    experience_id: str,
    rows: Rows,
    config: Config,
    device: torch.device,
    group: Group = ALONE,
    profile: Path | None = None,
) -> Trained:
    """Train in this process, alone or with others; see `learn`.

    Args:
        learner: Changed when all has gone well.
        experience_id: Appended to the cursor.
        rows: Of the experience.
        config: See `learn`.
        device: Where this process trains.
        group: The processes that learn together; each gives the same learner.
        profile: See `learn`.
    """
    started = time.perf_counter()
    training = config.training
    strategies = catalogue.chosen(config, learner.root)
    with ExitStack() as contexts:
        for context in (
            devices.memory(device, training.batch_size),
            devices.threads(training.threads),
            devices.determinism(training.deterministic, device),
            compilation.compiler(training.compile),
            randomness.isolated(device),
        ):
            contexts.enter_context(context)
        prepare = copy.deepcopy(learner.prepare)
        prepare.fit_constant(rows.x)
        new = _prepared(learner, prepare, rows.x, rows.y)
        checks.rows_suffice(learner, experience_id, len(new[0]), training)
        held = [t for state in learner.memory.values() for t in state.tensors.values()]
        copies = 2 if any(s.copies_rows for s, _ in strategies) else 1
        place = devices.storage_device([*new, *held], device, copies)
        x, y = (devices.pinned(tensor, place, device) for tensor in new)
        kept = [
            learner.memory.get(s.name, State())
            for s, _ in strategies
            if s.copies_rows or s.resets_model
        ]
        count = len(x) + sum(len(state.tensors.get("y", ())) for state in kept)
        watched = _prepared(learner, prepare, rows.watched_x, rows.watched_y)
        del rows
        past, share = learner.watched, 1.0
        number = learner.clock["train_exp_counter"]
        if duration.chosen(training, learner.recipe.edition):
            past = watching.joined(past, *watched, number)
            share = len(watched[0]) / max(1, past.values["seen"])
            watched = past.tensors["x"], past.tensors["y"]
            past = watching.sample(past)
        how_long = duration.choose(training, count, len(watched[0]), share, learner.recipe.edition)
        beside = devices.storage_device(watched, device)
        ready = _Ready(x, y, (watched[0].to(beside), watched[1].to(beside)), place, group)
        if device.type != "cpu":  # the first time on an accelerator its stream starts here
            randomness.seed(training.seed, device)
        randomness.restore(learner.streams, device)
        group.begin(training.seed, number, device)
        plugins = {s.name: s.plugin(settings) for s, settings in strategies if s.plugin}
        devices.begin_peak(device)
        first = (
            learner.pretrained_weights() if any(s.resets_model for s, _ in strategies) else State()
        )
        curve, best = _train(
            learner, plugins, ready, first, training, how_long, device, experience_id, profile
        )
        learner.prepare, learner.watched = prepare, past
        peak, machine = devices.peak_bytes(device), environment.describe(device)
    if not group.alone:
        machine |= {"processes": str(group.size)}
    return Trained(
        curve.epochs,
        rows=len(x),
        seconds=time.perf_counter() - started,
        rows_per_second=curve.rows / curve.seconds if curve.seconds else None,
        best_epoch=best,
        accelerator_bytes=peak,
        environment=machine,
    )


def _train(
    learner: Learner,
    plugins: dict[str, Remembering],
    rows: _Ready,
    first: State,
    training: TrainingConfig,
    how_long: Duration,
    device: torch.device,
    experience_id: str,
    profile: Path | None,
) -> tuple[Curve, int | None]:
    spec, name = learner.spec, training.optimizer.name

    def criterion(y: Tensor) -> nn.Module:
        return losses.criterion(training, spec, y, learner.root).to(device)

    model = copy.deepcopy(learner.model).to(device)
    precision = Precision(training.precision, device)
    precision.restore(learner.optimizer.values.get("scaler", {}))
    optimizer = optimizers.make(training, model)
    if training.carry_optimizer:
        optimizers.restore(optimizer, name, model, learner.optimizer)
    with ExitStack() as contexts:
        curve = Curve(
            losses.plain(training, spec.task, reduction="none"),
            rows.watched,
            rows_at_once(spec, _WATCHED_ROWS),
            lambda total: contexts.enter_context(track(f"learning {experience_id}", total)),
            rated=training.schedule.name != "constant" or bool(training.schedule.warmup),
        )
        stopping = None
        if how_long.patience is not None:
            stopping = Stopping(
                how_long.patience,
                training.min_delta,
                plugins.values(),
                lambda: curve.losses,
                sure=how_long.sure,
            )
        listeners = [*plugins.values(), curve]
        if curve.rated:
            listeners.append(Schedule(training.schedule, lambda: curve.epochs[-1]))
        if profile is not None:
            recorder = Profile(profile)
            contexts.callback(recorder.close)
            listeners.insert(0, recorder)
        strategy = Template(
            model=model,
            optimizer=optimizer,
            criterion=criterion(rows.y),
            batch_size=training.batch_size,
            epochs=how_long.epochs,
            device=device,
            plugins=listeners,
            criterion_for=criterion if training.class_weights == "balanced" else None,
            fresh=lambda: learner.fresh(first).to(device),
            steps=Steps(
                accumulate=training.accumulate,
                clip_norm=training.clip_norm,
                l1=training.l1,
                compile=training.compile,
                augment=augmentation.make(training.augmentation, spec, learner.root),
            ),
            precision=precision,
            stopping=stopping,
            rows_device=rows.place,
            group=rows.group,
        )
        for counter in CLOCK:
            setattr(strategy.clock, counter, learner.clock[counter])
        for key, plugin in plugins.items():
            plugin.restore(learner.memory.get(key, State()), strategy)
        task = torch.zeros(1, dtype=torch.int64, device=rows.place).expand(len(rows.x))
        number = learner.clock["train_exp_counter"]
        data = TensorData((rows.x, rows.y, task))
        strategy.train(TensorExperience(data, number), eval_streams=[])
    model = strategy.model
    checks.finite(curve.epochs, model)
    kept = State(values={"name": name, "other": {}})
    if training.carry_optimizer:
        kept = optimizers.state_of(optimizer, name, model)
    if scale := precision.state():
        kept.values["scaler"] = scale
    # Everything is at hand before the learner is changed.
    memory = {key: plugin.state() for key, plugin in plugins.items()}
    clock = {counter: getattr(strategy.clock, counter) for counter in CLOCK}
    streams = {**learner.streams, **randomness.capture(device)}
    learner.model, learner.pretrained = model.to("cpu").eval(), first
    learner.optimizer, learner.memory, learner.clock = kept, memory, clock
    learner.streams, learner.cursor = streams, (*learner.cursor, experience_id)
    return curve, stopping.best if stopping else None


def _prepared(
    learner: Learner, prepare: Prepare, raw: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """What is learned from, on the CPU: see `Prepare` and `Output.standardise`."""
    return prepared(prepare, raw), learner.output.standardise(target)
