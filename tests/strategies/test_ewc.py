"""EWC's numbers against closed forms and an independent computation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from perdure.strategies.fisher import _by_layers, _by_rows, _layers_suffice, fisher
from perdure.strategies.modules import Network
from perdure.strategies.plugins.ewc import Ewc
from perdure.strategies.state import State
from tests.strategies.small import config_of, learn, learned, spec_of


def test_fisher_of_a_logistic_model_is_that_of_its_formula() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 3)), rng.integers(0, 2, 300)
    model = nn.Linear(3, 2).double()
    weight, bias = model.weight.detach().numpy(), model.bias.detach().numpy()
    # ∂ℓ/∂z = softmax(z) - onehot(y), and z = W x + b: no autograd in sight.
    z = x @ weight.T + bias
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    residual = p - np.eye(2)[y]
    expected_w = np.einsum("no,ni->oi", residual**2, x**2) / len(x)
    found = fisher(model, nn.CrossEntropyLoss(), torch.tensor(x), torch.tensor(y))
    np.testing.assert_allclose(found["weight"], expected_w, rtol=1e-10)
    np.testing.assert_allclose(found["bias"], (residual**2).mean(axis=0), rtol=1e-10)


def test_fisher_does_not_depend_on_the_chunks_or_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1)).double()
    x, y = torch.randn(50, 4).double(), torch.randn(50, 1).double()
    whole = fisher(model, nn.MSELoss(), x, y)
    monkeypatch.setattr("perdure.strategies.fisher._CHUNK_ROWS", 7)
    order = torch.randperm(50)
    parts = fisher(model, nn.MSELoss(), x[order], y[order])
    assert model.training
    assert list(whole) == [name for name, _ in model.named_parameters()]
    for name, value in whole.items():
        assert value.sum() > 0
        torch.testing.assert_close(parts[name], value)


class Tied(nn.Module):
    """Uses a layer's weight behind the layer's back."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.layer(x)
        return torch.tanh(hidden) @ self.layer.weight


class Twice(Tied):
    """Calls a layer twice."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.layer(torch.tanh(self.layer(x)))
        return hidden


def frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].requires_grad_(False)
    return model


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4))


@pytest.mark.parametrize(
    ("make", "by_layers"),
    [
        (lambda: nn.Linear(4, 4, bias=False), True),
        (lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4)), True),
        # The output that the hook saw is overwritten: the trial on two rows notices.
        (lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 4)), False),
        (Tied, False),
        (Twice, False),
        (frozen, False),
        (normed, False),
    ],
)
def test_the_short_way_is_taken_only_where_it_is_right(make: Any, by_layers: bool) -> None:
    torch.manual_seed(0)
    model = make().double()
    x, y = torch.randn(30, 4).double(), torch.randint(0, 4, (30,))
    assert _layers_suffice(model.eval(), nn.CrossEntropyLoss(), x[:2], y[:2]) == by_layers
    found = fisher(model.train(), nn.CrossEntropyLoss(), x, y)
    loss = nn.CrossEntropyLoss()
    expected = {n: torch.zeros_like(p) for n, p in model.named_parameters() if p.requires_grad}
    for row in range(30):  # one backward pass for each row
        value = loss(model(x[row : row + 1]), y[row : row + 1])
        for name, g in zip(
            expected, torch.autograd.grad(value, [model.get_parameter(n) for n in expected]),
            strict=True,
        ):  # fmt: skip
            expected[name] += g.square() / 30
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    assert all(p.grad is None for p in model.parameters())


def test_both_ways_agree_on_embeddings_and_an_unseen_category_has_no_importance() -> None:
    torch.manual_seed(0)
    spec = spec_of()
    network = Network(spec, nn.Linear(Network.inputs(spec), 2)).eval()
    x = torch.randn(40, 5)
    x[:, 4] = torch.randint(0, 4, (40,))
    y = torch.randint(0, 2, (40,))
    assert _layers_suffice(network, nn.CrossEntropyLoss(), x[:2], y[:2])
    one = _by_layers(network, nn.CrossEntropyLoss(), x, y)
    other = _by_rows(network, nn.CrossEntropyLoss(), x, y)
    assert one.keys() == other.keys() == dict(network.named_parameters()).keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name])
    importance = one["embeddings.0.weight"].sum(dim=1)
    assert importance[1] == 0
    assert (importance[[0, 2, 3]] > 0).all()


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
    plugin.before_training_exp(SimpleNamespace(model=model))

    def ours(theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            model.weight.copy_(theta)
        value = plugin.penalty(model)
        return value.detach(), torch.autograd.grad(value, model.weight)[0]

    one, other = torch.randn(2, *shape, generator=generator).double()
    closed = [weight * (fishers * (theta - anchors) ** 2).sum() for theta in (one, other)]
    gradient = 2 * weight * (fishers * (one - anchors)).sum(0)
    (value, found), (second, _) = ours(one), ours(other)
    torch.testing.assert_close(found, gradient)
    torch.testing.assert_close(value - second, closed[0] - closed[1], atol=1e-8, rtol=1e-6)


def test_after_one_experience_the_penalty_is_exact() -> None:
    config = config_of([{"name": "ewc", "penalty": 3.0}])
    learner = learned(config, 1)
    plugin = Ewc(3.0)
    strategy: Any = SimpleNamespace(model=learner.model, device="cpu")
    plugin.restore(learner.memory["ewc"], strategy)
    plugin.before_training_exp(strategy)
    assert plugin.penalty(learner.model).item() == pytest.approx(0.0, abs=1e-9)
    moved = {name: p + 0.5 for name, p in learner.model.named_parameters()}
    learner.model.load_state_dict(moved)
    total = sum(v.sum() for k, v in learner.memory["ewc"].tensors.items() if k.startswith("A/"))
    assert plugin.penalty(learner.model).item() == pytest.approx(
        3.0 * 0.25 * float(total), rel=1e-4
    )


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
