"""DER and DER++ by hand: the loss, what is kept of a row, and outputs that come later."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from perdure.config import Task
from perdure.strategies.der.plugin import Der
from perdure.strategies.features.encoding import encode
from perdure.strategies.learner.state import State
from perdure.strategies.parallel.group import ALONE
from tests.strategies.small import config_of, learn, learned, table

HERE = SimpleNamespace(rows_device=torch.device("cpu"), device=torch.device("cpu"))


def held(outputs: int, known: list[int]) -> State:
    """A memory of three rows; their outputs count up from 1."""
    logits = torch.arange(1.0, 3 * outputs + 1).reshape(3, outputs)
    logits = logits * (torch.arange(outputs) < torch.tensor(known).unsqueeze(1))
    return State(
        {
            "x": torch.randn(3, 4),
            "y": torch.tensor([0, 1, 1]),
            "task": torch.zeros(3, dtype=torch.int64),
            "logits": logits,
            "known": torch.tensor(known),
            "weight": torch.tensor([0.9, 0.5, 0.1]),
        }
    )


def batch(found: list[list[float]], y: list[int], places: list[int], new: int) -> Any:
    """A strategy in the middle of a step."""
    place = torch.tensor([0] * new + places)
    return SimpleNamespace(
        mb_output=torch.tensor(found),
        mb_y=torch.tensor(y),
        mbatch=[None, None, None, place],
        new_rows=new,
        _criterion=nn.CrossEntropyLoss(),
        device=torch.device("cpu"),
    )


def entropy(z: list[float], y: int) -> float:
    return float(np.log(np.exp(z).sum()) - z[y])


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.0), (0.3, 0.7), (0.0, 1.0)])
def test_the_loss_is_that_of_the_formula(alpha: float, beta: float) -> None:
    plugin = Der(3, None, alpha, beta)
    plugin.restore(held(2, [2, 2, 2]), HERE)  # outputs (1, 2), (3, 4), (5, 6)
    plugin.before_training_exp(loop())
    found = [[0.5, -1.0], [2.0, 0.0], [1.0, 1.0], [3.0, 5.0]]
    loss = plugin.objective(batch(found, [1, 0, 1, 0], [2, 0], new=2))
    new = (entropy(found[0], 1) + entropy(found[1], 0)) / 2
    distance = ((1 - 5) ** 2 + (1 - 6) ** 2 + (3 - 1) ** 2 + (5 - 2) ** 2) / 4
    memory = (entropy(found[2], 1) + entropy(found[3], 0)) / 2
    assert float(loss) == pytest.approx(new + alpha * distance + beta * memory, rel=1e-6)


def test_an_output_that_came_later_is_compared_with_nothing() -> None:
    plugin = Der(3, None, alpha=1.0, beta=0.0)
    plugin.restore(held(2, [1, 2, 2]), HERE)  # outputs (1, none), (3, 4), (5, 6)
    plugin.before_training_exp(loop())
    found = [[0.0, 0.0, 0.0], [2.0, 9.0, 9.0], [3.0, 5.0, 9.0]]
    loss = plugin.objective(batch(found, [1, 0, 1], [0, 1], new=1))
    distance = ((2 - 1) ** 2 + (3 - 3) ** 2 + (5 - 4) ** 2) / 3
    assert float(loss) == pytest.approx(np.log(3) + distance, rel=1e-6)


def loop() -> Any:
    x = torch.randn(2, 4)
    rows = (x, torch.tensor([0, 1]), torch.zeros(2, dtype=torch.int64))
    return SimpleNamespace(adapted_dataset=SimpleNamespace(tensors=rows), train_mb_size=2)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("name", ["der", "der++"])
def test_each_row_keeps_what_the_model_said_after_its_own_experience(name: str, task: Task) -> None:
    config = config_of([{"name": name, "size": 50}], task)
    learner = learned(config, 1, task)
    models = [copy.deepcopy(learner.model)]
    learn(learner, 1, config)
    models.append(learner.model)
    kept = learner.memory[name].tensors
    width = 2 if task == "classification" else 1
    assert kept["logits"].shape == (50, width)
    assert (kept["known"] == width).all()
    first = {
        tuple(row) for row in learner.prepare(encode(learner.spec, table(0, task)[0])).tolist()
    }
    old = torch.tensor([tuple(row) in first for row in kept["x"].tolist()])
    assert 10 < old.sum() < 40
    with torch.no_grad():
        for chosen, model in zip((old, ~old), models, strict=True):
            torch.testing.assert_close(kept["logits"][chosen], model(kept["x"][chosen]))
        assert not torch.allclose(kept["logits"][old], models[1](kept["x"][old]))


def test_outputs_added_for_new_classes_are_room_without_a_claim() -> None:
    plugin = Der(3, None, 0.5, 0.5)
    plugin.restore(held(2, [2, 2, 2]), HERE)
    network = nn.Linear(4, 3)
    rows = (torch.randn(5, 4), torch.tensor([2] * 5), torch.zeros(5, dtype=torch.int64))
    strategy = SimpleNamespace(
        model=network, outputs=network, train_mb_size=2, device=torch.device("cpu"), group=ALONE,
        experience=SimpleNamespace(dataset=SimpleNamespace(tensors=rows)),
    )  # fmt: skip
    torch.manual_seed(0)
    plugin.after_training_exp(strategy)
    kept = plugin.state().tensors
    assert kept["logits"].shape == (3, 3)
    came = kept["y"] == 2
    assert 0 < came.sum() < 3
    assert torch.equal(kept["known"], torch.where(came, 3, 2))
    assert (kept["logits"][~came][:, 2] == 0).all()


def test_without_weight_on_the_outputs_it_is_replay_with_its_own_weights() -> None:
    """α = 0, β = 1: ℓ(new) + ℓ(memory), twice the mean over both where they are as many."""
    strategies = [{"name": "der++", "size": 60, "batch_size": 20, "alpha": 0.0, "beta": 1.0}]
    plain: dict[str, Any] = {"batch_size": 20, "optimizer": "sgd", "model": {}}
    der = learned(config_of(strategies, **plain, learning_rate=0.01), 2)
    replayed = [{"name": "replay", "size": 60, "batch_size": 20}]
    config = config_of(replayed, **plain, learning_rate=0.01)
    replay = learned(config, 1)
    replay.optimizer.tensors.update(
        {name: 0.5 * value for name, value in replay.optimizer.tensors.items()}
    )
    learn(replay, 1, config_of(replayed, **plain, learning_rate=0.02))
    for p, q in zip(der.model.parameters(), replay.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)
