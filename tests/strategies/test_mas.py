"""Memory aware synapses against one backward pass for each row."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from perdure.config import Task
from perdure.strategies.features.encoding import encode
from perdure.strategies.learner.learner import Learner
from perdure.strategies.learner.state import State
from perdure.strategies.mas.plugin import MemoryAwareSynapses
from perdure.strategies.parallel.group import ALONE
from tests.strategies.small import TASKS, config_of, learn, learned, table


def importance_of(learner: Learner) -> dict[str, Tensor]:
    tensors = learner.memory["mas"].tensors
    return {name.removeprefix("A/"): value for name, value in tensors.items()}


def by_hand(learner: Learner, number: int) -> dict[str, Tensor]:
    """Equation 3 of the paper: each row's gradient of the squared length of the outputs."""
    x = learner.prepare(encode(learner.spec, table(number, learner.spec.task)[0]))
    named = dict(learner.model.named_parameters())
    total = {name: torch.zeros_like(p) for name, p in named.items()}
    for row in x.split(1):
        length = learner.model(row).square().sum()
        found = torch.autograd.grad(length, list(named.values()))
        for name, gradient in zip(named, found, strict=True):
            total[name] += gradient.abs() / len(x)
    return total


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("decay", [1.0, 0.25])
def test_the_importance_adds_up_from_each_row(task: Task, decay: float) -> None:
    config = config_of([{"name": "mas", "decay": decay}], task)
    learner = learned(config, 1, task)
    first = importance_of(learner)
    expected = by_hand(learner, 0)
    assert first.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(first[name], value)
    learn(learner, 1, config)
    second = importance_of(learner)
    for name, value in by_hand(learner, 1).items():
        torch.testing.assert_close(second[name], decay * first[name] + value)


def test_targets_do_not_matter() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    x = torch.randn(20, 3)
    found = []
    for y in (torch.zeros(20, dtype=torch.int64), torch.ones(20, dtype=torch.int64)):
        plugin = MemoryAwareSynapses(1.0, 1.0, None)
        data = SimpleNamespace(tensors=(x, y, y))
        experience = SimpleNamespace(dataset=data)
        strategy: Any = SimpleNamespace(model=model, group=ALONE, experience=experience)
        plugin.after_training_exp(strategy)
        found.append(plugin.importance)
    assert torch.equal(found[0]["weight"], found[1]["weight"])
    # ∂‖Wx + b‖² / ∂b = 2 (Wx + b): no autograd in sight.
    torch.testing.assert_close(found[0]["bias"], (2 * model(x)).abs().mean(0).detach())


def test_it_holds_the_weights_where_the_last_experience_left_them() -> None:
    config = config_of([{"name": "mas", "penalty": 3.0}])
    learner = learned(config, 2)
    plugin = MemoryAwareSynapses(3.0, 1.0, None)
    strategy: Any = SimpleNamespace(model=learner.model, device="cpu")
    plugin.restore(learner.memory["mas"], strategy)
    plugin.before_training_exp(strategy)
    assert plugin.penalty() == 0.0
    moved = {name: p + 0.5 for name, p in learner.model.named_parameters()}
    learner.model.load_state_dict({**learner.model.state_dict(), **moved})
    total = sum(float(value.sum()) for value in importance_of(learner).values())
    assert plugin.penalty().item() == pytest.approx(3.0 * 0.25 * total, rel=1e-4)


def test_a_larger_penalty_holds_closer() -> None:
    def distance(penalty: float) -> float:
        config = config_of([{"name": "mas", "penalty": penalty}])
        learner = learned(config, 1)
        old = [p.detach().clone() for p in learner.model.parameters()]
        learn(learner, 1, config)
        new = learner.model.parameters()
        return sum(float((a - b).detach().square().sum()) for a, b in zip(old, new, strict=True))

    assert distance(0.0) > distance(1.0) > distance(1e4) > 0
    naive, zero = config_of(["naive"]), config_of([{"name": "mas", "penalty": 0.0}])
    assert learned(zero, 2).weights_sha256 == learned(naive, 2).weights_sha256


def test_the_state_is_one_number_a_weight_and_fewer_rows_may_tell_it() -> None:
    config = config_of([{"name": "mas", "rows": 7}])
    learner = learned(config, 1)
    shapes = {name: p.shape for name, p in learner.model.named_parameters()}
    assert {name: t.shape for name, t in importance_of(learner).items()} == shapes
    assert learner.state_sha256 == learned(config, 1).state_sha256
    assert learner.state_sha256 != learned(config_of(["mas"]), 1).state_sha256
    assert MemoryAwareSynapses(1.0, 1.0, None).state() == State()
