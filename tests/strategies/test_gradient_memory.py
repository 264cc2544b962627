"""A-GEM's and GEM's projections against the formulas, and the memories they ask."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, minimize
from torch import nn

from perdure.strategies.plugins.agem import Agem, project
from perdure.strategies.plugins.gem import Gem, multipliers
from tests.strategies.small import config_of, learn, learned

SHAPES = [(3, 2), (3,), (1, 1)]


def tensors(seed: int) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in SHAPES]


def flat(parts: Any) -> npt.NDArray[np.float64]:
    return np.concatenate([part.numpy().ravel() for part in parts])


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000))
def test_agem_takes_out_what_goes_against_the_reference_and_nothing_else(seed: int) -> None:
    g, r = tensors(seed), tensors(seed + 1)
    before, reference = flat(g), flat(r)
    project(g, r)
    after = flat(g)
    along = before @ reference
    expected = before - (along / (reference @ reference) * reference if along < 0 else 0)
    np.testing.assert_allclose(after, expected, rtol=1e-12, atol=1e-12)
    assert after @ reference >= -1e-9
    np.testing.assert_array_equal(flat(r), reference)


def test_a_reference_of_zero_changes_nothing() -> None:
    g = tensors(0)
    before = flat(g)
    project(g, [torch.zeros_like(part) for part in g])
    np.testing.assert_array_equal(flat(g), before)


def strategy_of(model: nn.Module, rows: Any) -> Any:
    return SimpleNamespace(
        model=model,
        outputs=model,
        _criterion=nn.MSELoss(),
        train_mb_size=4,
        device=torch.device("cpu"),
        rows_device=torch.device("cpu"),
        experience=SimpleNamespace(dataset=SimpleNamespace(tensors=rows)),
        clock=SimpleNamespace(train_exp_counter=0),
    )


def rows(seed: int, count: int = 4) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(count, n, generator=draw) for n in (3, 1))
    return x, y, torch.zeros(count, dtype=torch.int64)


def gradient_of(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> npt.NDArray[np.float64]:
    found = torch.autograd.grad(nn.MSELoss()(model(x), y), list(model.parameters()))
    return flat(found).astype(np.float64)


def test_agem_asks_the_rows_of_its_memory_and_leaves_what_is_frozen() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    model[1].requires_grad_(False)
    x, y, task = rows(0, 1)  # one row: whatever is drawn of the memory, it is this one
    plugin = Agem(10, None)
    strategy = strategy_of(model, (x, y, task))
    plugin.before_update(strategy)  # nothing is held yet
    plugin.after_training_exp(strategy)
    trained = list(model[0].parameters())
    loss = nn.MSELoss()(model(x), y)
    reference = flat(torch.autograd.grad(loss, trained))
    for p in trained:
        p.grad = torch.randn_like(p)
    before = flat([p.grad for p in trained])
    if before @ reference > 0:
        before = -before
        for p in trained:
            p.grad = -p.grad  # type: ignore[operator]  # it was set above
    plugin.before_update(strategy)
    expected = before - before @ reference / (reference @ reference) * reference
    np.testing.assert_allclose(flat([p.grad for p in trained]), expected, rtol=1e-5, atol=1e-6)
    assert model[1].weight.grad is None


Vector = npt.NDArray[np.float64]


def nearest(g: Vector, references: Vector) -> Vector:
    """The programme itself, by a general solver: argmin ½‖h - g‖², Rh ≥ 0."""

    def distance(h: Vector, /, *_: Any) -> float:
        return float(0.5 * ((h - g) ** 2).sum())

    def slope(h: Vector, /, *_: Any) -> Vector:
        return h - g

    limits = LinearConstraint(references, 0, np.inf)
    found = minimize(distance, g, jac=slope, constraints=limits, method="SLSQP", tol=1e-14)
    return np.asarray(found.x, dtype=np.float64)


@pytest.mark.parametrize("seed", range(12))
def test_gem_gives_the_nearest_gradient_that_keeps_every_constraint(seed: int) -> None:
    rng = np.random.default_rng(seed)
    references, g = rng.normal(size=(seed % 4 + 1, 8)), rng.normal(size=8)
    shares = multipliers(references @ references.T, references @ g, strength=0.0)
    h = g + shares @ references
    scale = np.abs(references).max() * np.abs(g).max()
    assert (shares >= 0).all()
    assert (references @ h >= -1e-3 * scale).all()
    # The ridge, 1e-4 of the mean squared length, is the difference.
    np.testing.assert_allclose(h, nearest(g, references), atol=5e-3)


def test_gem_with_a_margin_adds_at_least_so_much_of_each() -> None:
    rng = np.random.default_rng(1)
    references, g = rng.normal(size=(3, 8)), rng.normal(size=8)
    g -= 3 * references.sum(axis=0)  # against all of them
    shares = multipliers(references @ references.T, references @ g, strength=0.5)
    assert (shares >= 0.5).all()
    with_ridge = references @ references.T + np.eye(3) * 1e-4 * (references**2).sum() / 3
    # Where v is above the margin, the gradient of the dual is 0; where it is at it, above 0.
    slope = with_ridge @ shares + references @ g
    inside = shares > 0.5 + 1e-9
    np.testing.assert_allclose(slope[inside], 0, atol=1e-8)
    assert (slope[~inside] >= -1e-8).all()


def test_equal_references_and_references_of_zero_are_solved_as_well() -> None:
    r = np.array([1.0, 2.0, 0.0])
    references, g = np.stack([r, r, 0 * r]), -r
    h = g + multipliers(references @ references.T, references @ g, 0.0) @ references
    assert np.abs(h).max() < 1e-3
    assert (multipliers(np.zeros((2, 2)), np.zeros(2), 0.5) == 0).all()


def test_gem_projects_the_gradients_of_the_loop() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    plugin = Gem(size=4, memories=3, strength=0.0)
    stored = [rows(seed) for seed in range(2)]
    for some in stored:
        plugin.after_training_exp(strategy_of(model, some))
    references = np.stack([gradient_of(model, x, y) for x, y, _ in stored])
    g = -references.sum(axis=0)
    strategy = strategy_of(model, stored[0])
    set_gradient(model, g)
    plugin.before_update(strategy)
    found = flat([p.grad for p in model.parameters()])
    np.testing.assert_allclose(found, nearest(g, references), atol=5e-3 * np.abs(g).max())
    set_gradient(model, -g)  # along both, or else against one: then it is left as it is
    kept = references @ -g >= 0
    plugin.before_update(strategy)
    if kept.all():
        np.testing.assert_array_equal(
            flat([p.grad for p in model.parameters()]), (-g).astype(np.float32)
        )


def set_gradient(model: nn.Module, values: npt.NDArray[np.float64]) -> None:
    parameters = list(model.parameters())
    whole, sizes = torch.tensor(values, dtype=torch.float32), [p.numel() for p in parameters]
    parts = torch.split(whole, sizes)
    for p, part in zip(parameters, parts, strict=True):
        p.grad = part.view_as(p).clone()


def test_beyond_the_bound_the_two_oldest_memories_become_one() -> None:
    config = config_of([{"name": "gem", "size": 20, "memories": 3}])
    learner = learned(config, 3)
    before = learner.memory["gem"].tensors
    assert before["experience"].tolist() == [0] * 20 + [1] * 20 + [2] * 20
    learn(learner, 3, config)
    after = learner.memory["gem"].tensors
    assert after["experience"].tolist() == [0] * 20 + [1] * 20 + [2] * 20
    assert torch.equal(after["x"][20:40], before["x"][40:])  # the third is now the second
    together = torch.cat([before["weight"][:20], before["weight"][20:40]])
    assert torch.equal(after["weight"][:20], together.sort(descending=True).values[:20])
    fewer = config_of([{"name": "gem", "size": 5, "memories": 1}])
    learn(learner, 4, fewer)
    assert len(learner.memory["gem"].tensors["x"]) == 5


def test_the_oldest_memory_is_a_fair_sample_of_all_that_it_stands_for() -> None:
    torch.manual_seed(0)
    runs, counts = 600, np.zeros(50)
    for _ in range(runs):
        plugin = Gem(size=5, memories=1, strength=0.0)
        first = 0
        for count in (10, 30, 10):
            x = torch.arange(first, first + count, dtype=torch.float32).unsqueeze(1)
            some = (x, x.clone(), torch.zeros(count, dtype=torch.int64))
            plugin.after_training_exp(strategy_of(nn.Linear(1, 1), some))
            first += count
        (part,) = plugin.parts
        counts[part.rows[0][:, 0].long().numpy()] += 1
    share = 5 / 50
    assert np.abs(counts / runs - share).max() < 6 * np.sqrt(share * (1 - share) / runs)
