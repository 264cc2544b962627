"""The fast loop against stock Avalanche: the same batches and the same weights, bit for bit."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from perdure.config import Task
from perdure.strategies.features.encoding import encode, encode_target
from perdure.strategies.learner.learner import Learner
from perdure.strategies.plugins import base
from perdure.strategies.training import engine, loader, losses, optimizers
from tests.strategies.small import config_of, learned, new, table

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from avalanche.benchmarks.utils import _make_taskaware_classification_dataset
    from avalanche.benchmarks.utils.data_loader import ReplayDataLoader, TaskBalancedDataLoader
    from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin
    from avalanche.training.storage_policy import ReservoirSamplingBuffer
    from avalanche.training.templates import SupervisedTemplate

EXPERIENCES = 3


def dataset(rows: int, first: int = 0) -> Any:
    x = torch.arange(first, first + rows, dtype=torch.float32).unsqueeze(1)
    return base.TensorData((x, torch.zeros(rows, dtype=torch.int64), torch.zeros(rows).long()))


@pytest.mark.parametrize("rows", [1, 16, 50])
def test_batches_of_new_rows_are_those_of_stock(rows: int) -> None:
    data = stock_dataset(dataset(rows).tensors[:2])
    torch.manual_seed(0)
    stock = TaskBalancedDataLoader(data, 16, shuffle=True)
    expected = [batch[0] for batch in stock] + [torch.rand(3)]
    torch.manual_seed(0)
    ours = loader.BatchLoader(dataset(rows).tensors, 16)
    assert len(ours) == len(expected) - 1
    same([batch[0] for batch in ours] + [torch.rand(3)], expected)


@pytest.mark.parametrize(("rows", "held", "share"), [(50, 30, 16), (50, 7, 16), (20, 200, 8)])
def test_batches_with_memory_are_those_of_stock(rows: int, held: int, share: int) -> None:
    new_rows, memory = dataset(rows), dataset(held, first=1000)
    torch.manual_seed(0)
    stock = ReplayDataLoader(
        stock_dataset(new_rows.tensors[:2]),
        stock_dataset(memory.tensors[:2]),
        oversample_small_tasks=True,
        batch_size=16,
        batch_size_mem=share,
        shuffle=True,
    )
    expected = [batch[0] for _ in range(2) for batch in stock] + [torch.rand(3)]
    torch.manual_seed(0)
    ours = loader.BatchLoader(new_rows.tensors, 16, memory.tensors, share)
    same([batch[0] for _ in range(2) for batch in ours] + [torch.rand(3)], expected)


def same(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected) > 1
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def stock_dataset(tensors: Any) -> Any:
    data = torch.utils.data.TensorDataset(*tensors)
    return _make_taskaware_classification_dataset(data, targets=tensors[1].tolist(), task_labels=0)


def stock(learner: Learner, plugins: list[Any], epochs: int) -> nn.Module:
    """Stock Avalanche, uninterrupted, from the same weights and the same random state."""
    config = config_of(["naive"])
    model = copy.deepcopy(learner.model)
    torch.set_rng_state(learner.streams["random.torch"].tensors["state"])
    with warnings.catch_warnings(record=True):  # Avalanche calls its own deprecated functions
        warnings.simplefilter("ignore")
        strategy = SupervisedTemplate(
            model=model,
            optimizer=optimizers.make(config.training, model),
            criterion=losses.plain(config.training, "classification"),
            train_mb_size=config.training.batch_size,
            train_epochs=epochs,
            plugins=plugins,
            evaluator=EvaluationPlugin(),
        )
        for number in range(EXPERIENCES):
            columns, target = table(number)
            with torch.no_grad():
                x = learner.prepare(encode(learner.spec, columns))
            data = stock_dataset((x, encode_target(learner.spec, target)))
            experience = base.DatasetExperience(dataset=data, current_experience=number)
            experience.task_labels = [0]
            strategy.train(experience, eval_streams=[])
    return model


@pytest.mark.parametrize("name", ["naive", "replay"])
def test_weights_are_those_of_stock_avalanche(name: str) -> None:
    settings: dict[str, dict[str, int]] = {"naive": {}, "replay": {"size": 50, "batch_size": 12}}
    config = config_of([{"name": name, **settings[name]}])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        plugins = []
        if name == "replay":
            policy = ReservoirSamplingBuffer(max_size=50)
            plugins = [ReplayPlugin(50, batch_size_mem=12, storage_policy=policy)]
        expected = stock(new(config), plugins, config.training.epochs or 0)
    finally:
        torch.set_num_threads(threads)
    ours = learned(config, EXPERIENCES)
    assert len(expected.state_dict()) > 4
    for key, value in expected.state_dict().items():
        assert torch.equal(ours.model.state_dict()[key], value), key
    if plugins:
        held = torch.stack([row[0] for row in plugins[0].storage_policy.buffer])
        assert torch.equal(ours.memory["replay"].tensors["x"], held)


def test_a_regression_trains_on_the_standardised_target() -> None:
    task: Task = "regression"
    config = config_of(["naive"], task, epochs=1, batch_size=60, optimizer="sgd",
                       model={"parameters": {"hidden": []}}, learning_rate=0.1)  # fmt: skip
    learner = new(config, task)
    columns, target = table(0, task)
    x = learner.prepare(encode(learner.spec, columns))
    before = copy.deepcopy(learner.model)
    y = torch.tensor((target - target.mean()) / target.std(), dtype=torch.float32)
    gradient = torch.autograd.grad(((before(x)[:, 0] - y) ** 2).mean(), list(before.parameters()))
    engine.learn(learner, "0", columns, target, columns, target, config)
    for p, q, g in zip(learner.model.parameters(), before.parameters(), gradient, strict=True):
        torch.testing.assert_close(p, q - 0.1 * g)
