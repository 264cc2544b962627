"""Avalanche as it comes: its own data sets, loaders, templates and plugins, for comparison."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks.measure import Job
from perdure.strategies.plugins import base

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from avalanche.benchmarks.utils import _make_taskaware_classification_dataset
    from avalanche.training.plugins import (
        AGEMPlugin,
        EvaluationPlugin,
        EWCPlugin,
        LwFPlugin,
        ReplayPlugin,
        SynapticIntelligencePlugin,
    )
    from avalanche.training.storage_policy import ReservoirSamplingBuffer
    from avalanche.training.supervised.der import DER
    from avalanche.training.templates import SupervisedTemplate

Rows = tuple[Tensor, Tensor]
"""x float32 (rows, inputs) and y int64 (rows,)."""

PLUGINS: dict[str, Callable[[int, int], list[Any]]] = {
    "naive": lambda size, batch: [],
    "replay": lambda size, batch: [
        ReplayPlugin(size, batch_size_mem=batch, storage_policy=ReservoirSamplingBuffer(size))
    ],
    "ewc": lambda size, batch: [EWCPlugin(ewc_lambda=100.0, mode="separate")],
    "si": lambda size, batch: [SynapticIntelligencePlugin(si_lambda=1.0)],
    "lwf": lambda size, batch: [LwFPlugin(alpha=1.0, temperature=2.0)],
    "agem": lambda size, batch: [AGEMPlugin(size, batch)],
}
"""By strategy: from the size of the memory and the batch. DER++ is a template of its own."""


def strategy(
    name: str, network: nn.Module, size: int, batch: int, epochs: int, fused: bool = True
) -> Any:
    """One that has learned nothing, with an evaluator that prints nothing.

    Its optimizer is the one that the plain loop has: the comparison is of the loop.
    """
    model = copy.deepcopy(network)
    with warnings.catch_warnings(record=True):
        silent = EvaluationPlugin()
    given = {
        "model": model,
        "optimizer": torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused),
        "criterion": nn.CrossEntropyLoss(),
        "train_mb_size": batch,
        "train_epochs": epochs,
        "device": next(model.parameters()).device,
        "evaluator": silent,
    }
    if name == "der++":
        return DER(mem_size=size, alpha=0.5, beta=0.5, **given)
    return SupervisedTemplate(plugins=PLUGINS[name](size, batch), **given)


def experience(rows: Rows, number: int) -> Any:
    """Rows as one of Avalanche's experiences."""
    x, y = rows
    data = _make_taskaware_classification_dataset(
        TensorDataset(x, y), targets=y.tolist(), task_labels=0
    )
    found = base.DatasetExperience(dataset=data, current_experience=number)
    found.task_labels = [0]
    # What its plugins ask of an experience beside its rows.
    found.classes_in_this_experience = sorted(set(y.tolist()))
    found.origin_stream = ()
    return found


def learned(agent: Any, parts: Sequence[Rows], first: int = 0) -> Any:
    """The strategy after one experience for each part."""
    with warnings.catch_warnings(record=True):  # Avalanche calls its own deprecated functions
        warnings.simplefilter("ignore")
        for number, rows in enumerate(parts, first):
            agent.train(experience(rows, number), eval_streams=[])
    return agent


def job(agent: Any, rows: Rows, number: int) -> Job:
    """Learn one more experience, on a copy of the strategy."""
    return Job(lambda one: learned(one, [rows], number), lambda: copied(agent))


def copied(agent: Any) -> Any:
    """A copy; A-GEM holds a generator, which cannot be copied, and gets a new one."""
    holders = [one for one in agent.plugins if isinstance(one, AGEMPlugin)]
    for one in holders:
        one.buffer_dliter = iter([])
    found = copy.deepcopy(agent)
    for one in (plugin for plugin in found.plugins if isinstance(plugin, AGEMPlugin)):
        one.buffer_dliter = iter(one.buffer_dataloader)
    return found
