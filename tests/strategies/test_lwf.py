"""Learning without forgetting against its formula, written out."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from perdure.config import Task
from perdure.strategies.features.columns import Array, Column, FeatureSpec
from perdure.strategies.features.encoding import encode
from perdure.strategies.features.modules import Network
from perdure.strategies.learner import growth
from perdure.strategies.learner.learner import Learner
from perdure.strategies.learner.state import State
from perdure.strategies.lwf.plugin import LearningWithoutForgetting
from perdure.strategies.parallel.group import ALONE
from perdure.strategies.training import engine
from perdure.strategies.training.precision import Precision
from tests.strategies.small import ROOT, TASKS, config_of, learn, learned, spec_of, table

LONG: dict[str, Any] = {
    "epochs": 15,
    "learning_rate": 0.01,
    "model": {"parameters": {"hidden": [8]}},  # without dropout, whose noise moves outputs too
}


def net(outputs: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, outputs))


def begun(known: list[int], model: nn.Module, alpha: float = 1.5, temperature: float = 2.0) -> Any:
    """A plugin that knows these outputs, and a strategy whose experience has begun."""
    plugin = LearningWithoutForgetting(alpha, temperature)
    strategy: Any = SimpleNamespace(model=model, device="cpu", precision=Precision(), group=ALONE)
    plugin.restore(State(values={"known": known}), strategy)
    plugin.before_training_exp(strategy)
    return plugin, strategy


def batch(strategy: Any, y: Tensor) -> Tensor:
    """Give the strategy a batch whose loss is 0; its outputs, with a gradient to come."""
    strategy.mb_x, strategy.mb_y = torch.randn(len(y), 3), y
    outputs: Tensor = strategy.model(strategy.mb_x)
    outputs.retain_grad()
    strategy.mb_output, strategy.loss = outputs, torch.zeros(())
    return outputs


def test_the_loss_and_its_gradient_are_those_of_the_formula() -> None:
    model = net()
    teacher = copy.deepcopy(model).eval()
    plugin, strategy = begun([0, 2, 3], model.train())
    with torch.no_grad():  # the model goes on, the teacher does not
        for p in model.parameters():
            p.add_(torch.randn(p.shape))
    outputs = batch(strategy, torch.randint(0, 4, (7,)))
    plugin.before_backward(strategy)
    strategy.loss.backward()

    def softmax(values: Array) -> Array:
        powers = np.exp(values)
        shares: Array = powers / powers.sum(axis=1, keepdims=True)
        return shares

    known = [0, 2, 3]
    wanted = softmax(teacher(strategy.mb_x).detach().numpy()[:, known] / 2.0)
    result = softmax(outputs.detach().numpy()[:, known] / 2.0)
    value = 1.5 * (wanted * np.log(wanted / result)).sum() / 7
    assert strategy.loss.item() == pytest.approx(value, rel=1e-5)
    # Of the paper's cross entropy -Σ p log q: (q - p) / T for each row, and nothing for output 1.
    expected = np.zeros((7, 4))
    expected[:, known] = 1.5 * (result - wanted) / 2.0 / 7
    assert outputs.grad is not None
    np.testing.assert_allclose(outputs.grad.numpy(), expected, atol=1e-6)


def test_a_regression_is_held_by_the_squared_difference() -> None:
    model = net(1)
    teacher = copy.deepcopy(model).eval()
    plugin, strategy = begun([0], model)
    outputs = batch(strategy, torch.randn(7, 1))
    plugin.before_backward(strategy)
    difference = (outputs - teacher(strategy.mb_x)).detach().numpy()
    assert strategy.loss.item() == pytest.approx(1.5 * np.mean(difference**2), rel=1e-5)


def test_one_known_class_says_nothing_and_no_known_class_costs_nothing() -> None:
    plugin, strategy = begun([2], net())
    batch(strategy, torch.zeros(5, dtype=torch.int64))
    plugin.before_backward(strategy)
    assert strategy.loss.item() == 0.0
    for plugin, strategy in (begun([], net()), begun([0, 1], net(), alpha=0.0)):
        strategy.loss = "as it was"
        plugin.before_backward(strategy)
        assert strategy.loss == "as it was"


@pytest.mark.parametrize("task", TASKS)
def test_the_state_is_what_was_seen_and_no_weights(task: Task) -> None:
    config = config_of(["lwf"], task)
    learner = learned(config, 2, task)
    known = [0, 1] if task == "classification" else [0]
    assert learner.memory["lwf"] == State(values={"known": known})
    assert LearningWithoutForgetting(1.0, 1.0).state() == State()


def test_only_classes_that_were_there_are_known() -> None:
    config = config_of(["lwf"])
    columns, target = table(0)
    yes = target == "yes"
    only = {name: values[yes] for name, values in columns.items()}, target[yes]
    learner = Learner.new(spec_of(), config, ROOT, *only)
    engine.learn(learner, "a", *only, *only, config)
    assert learner.memory["lwf"].values == {"known": [1]}
    learn(learner, 0, config)
    assert learner.memory["lwf"].values == {"known": [0, 1]}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("beside", [[], [{"name": "replay", "size": 50}]])
def test_a_larger_alpha_keeps_the_outputs_on_new_rows(task: Task, beside: list[Any]) -> None:
    def drift(alpha: float) -> float:
        config = config_of([{"name": "lwf", "alpha": alpha}, *beside], task, **LONG)
        learner = learned(config, 1, task)
        x = learner.prepare(encode(learner.spec, table(1, task)[0]))
        before = learner.model(x).detach()
        learn(learner, 1, config)
        after = learner.model(x).detach()
        if task == "classification":  # adding the same to both logits says the same
            before, after = before.diff(dim=1), after.diff(dim=1)
        return float((after - before).square().mean())

    assert drift(0.0) > 1.5 * drift(10.0) > 3 * drift(1000.0) > 0


def test_memory_rows_are_distilled_too() -> None:
    plugin, strategy = begun([0, 1], net())
    with torch.no_grad():
        strategy.model[3].weight.mul_(2.0)
    strategy.new_rows = 3  # of 8; the others came from a memory
    outputs = batch(strategy, torch.randint(0, 4, (8,)))
    plugin.before_backward(strategy)
    strategy.loss.backward()
    assert outputs.grad is not None
    assert (outputs.grad[:, :2].abs().sum(dim=1) > 0).all()


def test_new_classes_are_free_and_the_old_are_held() -> None:
    config = config_of([{"name": "lwf", "alpha": 100.0}], **LONG)
    learner = learned(config, 1)
    wide = FeatureSpec(spec_of().columns, "y", "classification", ("no", "yes", "maybe"))
    growth.grow(learner, wide)
    columns, _ = table(1)
    target = np.array(["maybe"] * 60, dtype=object)
    x = learner.prepare(encode(learner.spec, columns))
    before = learner.model(x).detach()
    engine.learn(learner, "b", columns, target, columns, target, config)
    after = learner.model(x).detach()
    assert (after.argmax(dim=1) == 2).float().mean() > 0.9
    assert (after[:, :2].diff() - before[:, :2].diff()).abs().mean() < 0.1
    assert learner.memory["lwf"].values == {"known": [0, 1, 2]}


SITES = FeatureSpec(
    (Column("a", "number"), Column("site", "category", ("north", "south"))),
    "y", "classification", ("no", "yes"),
)  # fmt: skip


def rows(site: str, sign: float, seed: int) -> tuple[dict[str, Array], Array]:
    a = np.random.default_rng(seed).normal(size=80)
    words = np.where(sign * a > 0, "yes", "no").astype(object)
    return {"a": a, "site": np.array([site] * 80, dtype=object)}, words


def test_each_head_is_distilled_by_itself() -> None:
    def drift(alpha: float) -> tuple[float, float]:
        """Of what north's head and south's say of the rows of south, which are new."""
        strategies = [{"name": "lwf", "alpha": alpha}]
        model = {"heads": "site", **LONG["model"]}
        config = config_of(strategies, **LONG | {"model": model})
        north, south = rows("north", 1.0, 0), rows("south", -1.0, 1)
        learner = Learner.new(SITES, config, ROOT, north[0])
        engine.learn(learner, "1", *north, *north, config)
        heads = learner.model.head_count
        places = {"north": 2, "south": 3}  # after those of no site and of an unseen one
        assert learner.memory["lwf"].values["known"] == [2, heads + 2]
        x = learner.prepare(encode(SITES, south[0]))
        assert set(learner.model.head_of(x).tolist()) == {3}

        def result(network: Network) -> dict[str, Tensor]:
            each = network.body(network._front(x)).unflatten(1, (2, heads)).detach()
            return {site: each[:, :, place].diff(dim=1) for site, place in places.items()}

        before = result(learner.model)
        engine.learn(learner, "2", *south, *south, config)
        assert learner.memory["lwf"].values["known"] == [2, 3, heads + 2, heads + 3]
        assert not learner.model.body._forward_hooks
        after = result(learner.model)
        north_drift, south_drift = (float((after[s] - before[s]).square().mean()) for s in places)
        return north_drift, south_drift

    free, held = drift(0.0), drift(100.0)
    assert held[0] < free[0] / 10
    assert held[1] > 10 * held[0]  # its own head learns
