"""EWC's numbers against closed forms and an independent computation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from perdure.errors import Fault
from perdure.strategies.ewc.plugin import Ewc
from perdure.strategies.features.encoding import encode, encode_target
from perdure.strategies.learner.learner import Learner
from perdure.strategies.learner.state import State
from perdure.strategies.parallel.group import ALONE
from tests.strategies.small import config_of, copied, learn, learned, table


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.floats(0.01, 100), st.integers(0, 10**6))
def test_one_quadratic_stands_for_all(experiences: int, weight: float, seed: int) -> None:
    """Σ_k F_k (θ - θ_k)²: the same gradient, and the same value up to a constant."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 3)
    fishers = torch.rand(experiences, *shape, generator=generator).double()
    fishers[:, 0, 0] = 0.0  # a weight that never mattered
    anchors = torch.randn(experiences, *shape, generator=generator).double()
    plugin = Ewc(weight)
    plugin.importance = {"weight": fishers.sum(0)}
    plugin.pull = {"weight": (fishers * anchors).sum(0)}
    model = nn.Linear(3, 2, bias=False).double()
    strategy = SimpleNamespace(model=model)
    plugin.before_training_exp(strategy)
    slope = torch.randn(shape, generator=generator).double()

    def ours(theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            model.weight.copy_(theta)
        model.weight.grad = slope.clone()
        plugin.before_update(strategy)
        return plugin.penalty(), model.weight.grad - slope

    one, other = torch.randn(2, *shape, generator=generator).double()
    closed = [weight * (fishers * (theta - anchors) ** 2).sum() for theta in (one, other)]
    gradient = 2 * weight * (fishers * (one - anchors)).sum(0)
    (value, found), (second, _) = ours(one), ours(other)
    torch.testing.assert_close(found, gradient)
    assert found[0, 0] == 0.0  # exactly: it moves as in plain training
    torch.testing.assert_close(value - second, closed[0] - closed[1], atol=1e-8, rtol=1e-6)


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def held(model: nn.Module, plugin: Ewc, seed: int = 1) -> dict[str, torch.Tensor]:
    """Give the plugin an importance with a zero, and centres; these are returned."""
    generator = torch.Generator().manual_seed(seed)
    centres = {}
    for name, p in model.named_parameters():
        a = torch.rand(p.shape, generator=generator).double()
        a.view(-1)[0] = 0.0
        centres[name] = torch.randn(p.shape, generator=generator).double()
        plugin.importance[name], plugin.pull[name] = a, a * centres[name]
    return centres


def test_the_gradient_in_closed_form_is_that_of_autograd() -> None:
    model, plugin = small(), Ewc(7.0)
    centres = held(model, plugin)
    x, y = torch.randn(9, 3).double(), torch.randint(0, 2, (9,))
    loss = nn.functional.cross_entropy(model(x), y)
    penalty = torch.zeros(())
    for name, p in model.named_parameters():
        penalty = penalty + 7.0 * (plugin.importance[name] * (p - centres[name]) ** 2).sum()
    parameters = list(model.parameters())
    expected = torch.autograd.grad(loss + penalty, parameters, retain_graph=True)
    torch.autograd.backward(loss)
    plugin.before_training_exp(SimpleNamespace(model=model))
    plugin.before_update(SimpleNamespace(model=model))
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    torch.testing.assert_close(plugin.penalty(), penalty.detach())


def test_a_parameter_that_the_loss_does_not_reach_is_held_too_and_a_frozen_one_is_not() -> None:
    model, plugin = small(), Ewc(1.0)
    centres = held(model, plugin)
    model[2].bias.requires_grad_(False)
    plugin.before_training_exp(SimpleNamespace(model=model))
    plugin.before_update(SimpleNamespace(model=model))
    weight, a = model.get_parameter("0.weight"), plugin.importance["0.weight"]
    torch.testing.assert_close(weight.grad, 2 * a * (weight.detach() - centres["0.weight"]))
    assert model.get_parameter("2.bias").grad is None


@pytest.mark.parametrize("penalty", [0.5, 1e6])
def test_the_proximal_step_is_the_minimum_of_penalty_and_distance(penalty: float) -> None:
    """At the minimum of ‖θ' - θ‖² / 2η + λ Σ A (θ' - c)² its gradient is zero."""
    model, plugin = small(), Ewc(penalty, proximal=True)
    centres = held(model, plugin)
    rates = {"0": 0.1, "2": 0.001}  # of each layer
    optimizer = torch.optim.SGD(
        [{"params": model[int(layer)].parameters(), "lr": rate} for layer, rate in rates.items()]
    )
    strategy = SimpleNamespace(model=model, optimizer=optimizer)
    plugin.before_training_exp(strategy)
    for _ in range(2):  # the second time with other rates, as a schedule would set them
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        plugin.before_update(strategy)
        assert all(p.grad is None for p in model.parameters())
        plugin.after_update(strategy)
        for name, p in model.named_parameters():
            a, rate = plugin.importance[name], rates[name[0]]
            slope = (p - before[name]) / rate + 2 * penalty * a * (p - centres[name])
            scale = 1 / rate + 2 * penalty * a
            torch.testing.assert_close(slope / scale, torch.zeros_like(slope), atol=1e-9, rtol=0)
            assert p.view(-1)[0] == before[name].view(-1)[0]  # where A is 0
        rates = {layer: rate / 3 for layer, rate in rates.items()}
        for group, rate in zip(optimizer.param_groups, rates.values(), strict=True):
            group["lr"] = rate


def test_no_penalty_is_too_high_for_the_proximal_form() -> None:
    high = {"name": "ewc", "penalty": 1e6}
    free = learned(config_of(["naive"], optimizer="sgd", learning_rate=0.05), 2)
    with pytest.raises(Fault, match="diverged"):
        learned(config_of([high], optimizer="sgd", learning_rate=0.05, epochs=20), 2)
    config = config_of([high | {"form": "proximal"}], optimizer="sgd", learning_rate=0.05)
    first, second = learned(config, 1), learned(config, 2)

    def moved(learner: Learner) -> float:
        pairs = zip(first.model.parameters(), learner.model.parameters(), strict=True)
        return sum(float((a - b).detach().square().sum()) for a, b in pairs)

    assert 0 < moved(second) < moved(free) / 2


def test_after_one_experience_the_penalty_is_exact() -> None:
    config = config_of([{"name": "ewc", "penalty": 3.0}])
    learner = learned(config, 1)
    plugin = Ewc(3.0)
    strategy: Any = SimpleNamespace(model=learner.model, device="cpu")
    plugin.restore(learner.memory["ewc"], strategy)
    plugin.before_training_exp(strategy)
    assert plugin.penalty().item() == pytest.approx(0.0, abs=1e-9)
    moved = {name: p + 0.5 for name, p in learner.model.named_parameters()}
    learner.model.load_state_dict({**learner.model.state_dict(), **moved})
    total = sum(v.sum() for k, v in learner.memory["ewc"].tensors.items() if k.startswith("A/"))
    assert plugin.penalty().item() == pytest.approx(3.0 * 0.25 * float(total), rel=1e-4)


def test_online_fades_the_importance_and_keeps_no_more_than_it() -> None:
    """A ← γA + F around the latest weights; F is what an experience alone would give."""
    settings = {"name": "ewc", "penalty": 50.0, "online": True, "decay": 0.25}
    config = config_of([settings])
    learner = learned(config, 1)
    before = {name: t.clone() for name, t in learner.memory["ewc"].tensors.items()}
    assert {name[:2] for name in before} == {"A/"}
    held = [p.detach().clone() for p in learner.model.parameters()]
    learn(learner, 1, config)
    # Forgotten altogether, what is left is the last experience's.
    plugin = Ewc(50.0, online=True, decay=0.0)
    columns, target = table(1)
    x = learner.prepare(encode(learner.spec, columns))
    y = encode_target(learner.spec, target)
    data = SimpleNamespace(tensors=(x, y, None))
    strategy: Any = SimpleNamespace(
        model=learner.model, device="cpu", _criterion=nn.CrossEntropyLoss(),
        experience=SimpleNamespace(dataset=data), group=ALONE,
    )  # fmt: skip
    plugin.importance = {"stale": torch.ones(1)}
    plugin.after_training_exp(strategy)
    for name, value in learner.memory["ewc"].tensors.items():
        fresh = plugin.importance[name.removeprefix("A/")]
        torch.testing.assert_close(value, 0.25 * before[name] + fresh)
    plugin.restore(learner.memory["ewc"], strategy)
    plugin.before_training_exp(strategy)
    assert plugin.penalty() == 0.0  # around where they are now
    assert any(not torch.equal(a, b) for a, b in zip(held, learner.model.parameters(), strict=True))


def test_online_and_not_differ_only_from_the_third_experience_on() -> None:
    one, other = (config_of([{"name": "ewc", "online": online}]) for online in (False, True))
    # With one centre they are the same but for rounding, and Adam makes little of it.
    for a, b in zip(
        learned(one, 2).model.parameters(), learned(other, 2).model.parameters(), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
    assert learned(one, 3).weights_sha256 != learned(other, 3).weights_sha256


def test_the_setting_online_may_change_between_experiences() -> None:
    online, plain = (config_of([{"name": "ewc", "online": online}]) for online in (True, False))
    learner = learned(online, 1)
    kept = copied(learner)
    learn(learner, 1, plain)
    straight = learned(plain, 1)
    learn(straight, 1, plain)
    for a, b in zip(learner.model.parameters(), straight.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
    assert learner.memory["ewc"].tensors.keys() == straight.memory["ewc"].tensors.keys()
    learn(straight, 2, online)
    assert straight.memory["ewc"].tensors.keys() == kept.memory["ewc"].tensors.keys()


def test_fewer_rows_are_drawn_and_their_draw_is_part_of_the_learner() -> None:
    some, every = (config_of([{"name": "ewc", "rows": rows}]) for rows in (7, None))
    one, again, whole = learned(some, 1), learned(some, 1), learned(every, 1)
    assert one.weights_sha256 == whole.weights_sha256
    assert one.state_sha256 == again.state_sha256 != whole.state_sha256


def test_the_state_adds_up_over_experiences() -> None:
    config = config_of(["ewc"])
    learner = learned(config, 1)
    before = {name: t.clone() for name, t in learner.memory["ewc"].tensors.items()}
    learn(learner, 1, config)
    after = learner.memory["ewc"].tensors
    assert before.keys() == after.keys()
    assert len(before) == 2 * len(list(learner.model.parameters()))
    for name in (name for name in before if name.startswith("A/")):
        assert (after[name] >= before[name]).all()
    assert sum(float((after[n] - before[n]).abs().sum()) for n in before) > 0


def test_a_larger_penalty_holds_closer() -> None:
    def distance(penalty: float) -> float:
        config = config_of([{"name": "ewc", "penalty": penalty}])
        learner = learned(config, 1)
        old = [p.detach().clone() for p in learner.model.parameters()]
        learn(learner, 1, config)
        new = learner.model.parameters()
        return sum(float((a - b).detach().square().sum()) for a, b in zip(old, new, strict=True))

    free, some, much = distance(0.0), distance(100.0), distance(1e5)
    assert free > some > much > 0
    naive = learned(config_of(["naive"]), 2)
    zero = learned(config_of([{"name": "ewc", "penalty": 0.0}]), 2)
    assert zero.weights_sha256 == naive.weights_sha256


def test_nothing_to_remember_before_the_first_experience() -> None:
    assert Ewc(1.0).state() == State()
