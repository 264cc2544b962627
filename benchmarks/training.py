"""Rows a second of learning, against a raw PyTorch loop.

The loop does what naive fine-tuning and replay do; EWC's penalty and Fisher come on top of it.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from avalanche.benchmarks.utils import _make_taskaware_classification_dataset
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks.data import ROOT, SPEC, configuration, rows
from benchmarks.measure import in_turns
from perdure.strategies import engine
from perdure.strategies.features import encode, encode_target
from perdure.strategies.learner import Learner
from perdure.strategies.plugins.base import DatasetExperience

Row = tuple[str, str, str]


def table(count: int = 20_000, epochs: int = 2, batch: int = 64) -> list[Row]:
    """One row per strategy: its speed relative to the raw loop.

    Args:
        count: Rows of the experience.
        epochs: Passes over them.
        batch: Rows in a batch.
    """
    hidden = [128, 128]
    columns, target = rows(count, 1)
    jobs: dict[str, Callable[[], None]] = {}
    chosen: dict[str, list[Any]] = {
        "naive": ["naive"],
        "replay 2,000": [{"name": "replay", "size": 2000}],
        "ewc": ["ewc"],
        "ewc + replay": ["ewc", "replay"],
    }
    for name, strategies in chosen.items():
        config = configuration(strategies, epochs, batch, hidden)
        learner = Learner.new(SPEC, config, ROOT, *rows(2_000, 0))
        engine.learn(learner, "first", *rows(2_000, 0), *rows(0, 0), config)
        jobs[name] = _learn(learner, config, columns, target)
    config = configuration(["naive"], epochs, batch, hidden)
    learner = Learner.new(SPEC, config, ROOT, columns, target)
    # What the raw loop gets: rows prepared as the learner prepares them, and its network.
    x = learner.prepare(encode(SPEC, columns))
    y = encode_target(SPEC, target)
    network = learner.model
    jobs["raw"] = lambda: _raw(copy.deepcopy(network), x, y, epochs, batch)
    jobs["stock Avalanche, naive"] = _stock(network, x, y, epochs, batch)
    jobs["raw, 2 batches a step"] = lambda: _raw(
        copy.deepcopy(network), x, y, epochs, batch, (x[:2000], y[:2000])
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = in_turns(jobs)
    finally:
        torch.set_num_threads(threads)
    result = []
    for name in jobs:
        if name.startswith("raw"):
            continue
        peer = "raw, 2 batches a step" if "replay" in name else "raw"
        speed = f"{count * epochs / seconds[name]:,.0f} rows/s"
        without = ", without the penalty" if "ewc" in name else ""
        result.append((name, speed, f"{seconds[peer] / seconds[name]:.2f} of {peer}{without}"))
    return result


def _learn(learner: Learner, config: Any, columns: Any, target: Any) -> Callable[[], None]:
    def job() -> None:
        engine.learn(copy.deepcopy(learner), "next", columns, target, *rows(0, 0), config)

    return job


def _raw(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    epochs: int,
    batch: int,
    memory: tuple[Tensor, Tensor] | None = None,
) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loss_of = nn.CrossEntropyLoss()
    network.train()
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for start in range(0, len(x), batch):
            chosen = order[start : start + batch]
            inputs, labels = x[chosen], y[chosen]
            if memory is not None:
                again = torch.randint(len(memory[0]), (len(chosen),))
                inputs = torch.cat([inputs, memory[0][again]])
                labels = torch.cat([labels, memory[1][again]])
            optimizer.zero_grad()
            loss_of(network(inputs), labels).backward()
            optimizer.step()


def _stock(network: nn.Module, x: Tensor, y: Tensor, epochs: int, batch: int) -> Callable[[], None]:
    """Avalanche as it comes, with its own data set, loader and template."""

    def job() -> None:
        model = copy.deepcopy(network)
        with warnings.catch_warnings():  # Avalanche calls its own deprecated functions
            warnings.simplefilter("ignore")
            data = _make_taskaware_classification_dataset(
                TensorDataset(x, y), targets=y.tolist(), task_labels=0
            )
            experience = DatasetExperience(dataset=data, current_experience=0)
            experience.task_labels = [0]
            SupervisedTemplate(
                model=model,
                optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
                criterion=nn.CrossEntropyLoss(),
                train_mb_size=batch,
                train_epochs=epochs,
                evaluator=EvaluationPlugin(),
            ).train(experience, eval_streams=[])

    return job
