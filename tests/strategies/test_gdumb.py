"""GDumb and the two references: what is trained on, and that it begins anew."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from torch import Tensor

from perdure.config import Task
from perdure.strategies.features.encoding import encode, encode_target
from perdure.strategies.learner.learner import Learner
from perdure.strategies.training import engine, losses
from tests.strategies.small import TASKS, Table, config_of, copied, learn, learned, new, table


def test_the_memory_is_even_over_the_classes() -> None:
    config = config_of([{"name": "gdumb", "size": 40}])
    for experiences in (1, 2, 4):
        held = learned(config, experiences).memory["gdumb"].tensors
        assert Counter(held["y"].tolist()) == {0: 20, 1: 20}


def test_a_new_model_learns_the_memory_and_nothing_else() -> None:
    """From the same first weights, naive on the memory's rows ends where GDumb does."""
    config = config_of(
        [{"name": "gdumb", "size": 40}],
        optimizer="sgd", batch_size=64, model={"parameters": {"hidden": [8]}},
    )  # fmt: skip
    learner = learned(config, 1)
    anew = copied(learner)
    learn(learner, 1, config)
    held = learner.memory["gdumb"].tensors
    torch.set_rng_state(anew.streams["random.torch"].tensors["state"])
    torch.rand(60)  # the weights of the 60 rows that came
    model = anew.fresh()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    for _ in range(2):  # 40 rows in one batch, so their order does not matter
        optimizer.zero_grad()
        torch.nn.CrossEntropyLoss()(model(held["x"]), held["y"]).backward()
        optimizer.step()
    for p, q in zip(learner.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_cumulative_goes_on_and_joint_begins_anew(task: Task) -> None:
    """One full batch of plain SGD: the step is that of the mean loss over all 120 rows."""
    for name in ("cumulative", "joint"):
        config = config_of(
            [name], task,
            optimizer="sgd", batch_size=200, epochs=1, model={"parameters": {"hidden": [8]}},
        )  # fmt: skip
        learner = learned(config, 1, task)
        learner.optimizer = new(config, task).optimizer  # no momentum yet
        before = copied(learner)
        learn(learner, 1, config)
        model = copy.deepcopy(before.model)
        if name == "joint":
            torch.set_rng_state(before.streams["random.torch"].tensors["state"])
            model = before.fresh()
        held = learner.memory[name].tensors
        assert len(held["x"]) == 120
        assert torch.equal(held["x"][:60], before.memory[name].tensors["x"])
        criterion = torch.nn.CrossEntropyLoss() if task == "classification" else torch.nn.MSELoss()
        parameters = list(model.parameters())
        gradients = torch.autograd.grad(criterion(model(held["x"]), held["y"]), parameters)
        for p, q, g in zip(learner.model.parameters(), parameters, gradients, strict=True):
            torch.testing.assert_close(p, q - 1e-3 * g, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["gdumb", "joint"])
def test_the_optimizer_begins_anew_as_well(name: str) -> None:
    config = config_of([name], optimizer="adam")
    learner = learned(config, 1)
    steps = learner.optimizer.tensors["step/body.0.weight"]
    learn(learner, 1, config)
    # 60 rows in batches of 16, twice; then as many of 120 as there are.
    assert (int(steps), int(learner.optimizer.tensors["step/body.0.weight"])) == (8, 16)


def lopsided(number: int) -> Table:
    """Of 60 rows 10 are of the one class; in the next experience of the other."""
    columns, target = table(number)
    target[:] = "no" if number % 2 else "yes"
    target[::6] = "yes" if number % 2 else "no"
    return columns, target


@pytest.mark.parametrize(
    ("name", "counts"),
    [("gdumb", [20, 20]), ("cumulative", [60, 60]), ("joint", [60, 60]), ("naive", [50, 10])],
)
def test_balanced_weights_are_those_of_the_rows_that_are_trained_on(
    name: str, counts: list[int]
) -> None:
    """One full batch of plain SGD, as above."""
    strategy = {"name": name, **({"size": 40} if name == "gdumb" else {})}
    config = config_of(
        [strategy], class_weights="balanced",
        optimizer={"name": "sgd", "momentum": 0.0}, batch_size=200, epochs=1,
        model={"parameters": {"hidden": [8]}},
    )  # fmt: skip
    learner = new(config)
    before = learner
    for number in range(2):
        before = copied(learner)
        engine.learn(learner, str(number), *lopsided(number), *table(9, rows=0), config)
    held = learner.memory[name].tensors if name != "naive" else rows_of(learner, 1)
    assert torch.bincount(held["y"]).tolist() == counts
    torch.set_rng_state(before.streams["random.torch"].tensors["state"])
    if name == "gdumb":
        torch.rand(60)  # the weights of the 60 rows that came
    model = before.fresh() if name in ("gdumb", "joint") else before.model
    criterion = torch.nn.CrossEntropyLoss(losses.balanced(held["y"], 2))
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(criterion(model(held["x"]), held["y"]), parameters)
    for p, q, g in zip(learner.model.parameters(), parameters, gradients, strict=True):
        torch.testing.assert_close(p, q - 1e-3 * g, rtol=1e-5, atol=1e-7)


def rows_of(learner: Learner, number: int) -> dict[str, Tensor]:
    columns, target = lopsided(number)
    x = learner.prepare(encode(learner.spec, columns))
    return {"x": x, "y": encode_target(learner.spec, target)}
