"""A-GEM's and GEM's projections against the formulas, and the memories they ask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
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

from perdure.errors import ConfigError
from perdure.strategies.agem.plugin import Agem, project
from perdure.strategies.gem.plugin import Gem, multipliers
from perdure.strategies.learner.state import State
from perdure.strategies.parallel.group import ALONE
from perdure.strategies.training.precision import Precision
from perdure.strategies.training.steps import Steps
from tests.strategies.small import config_of, learn, learned, new

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


no_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=no_cuda)])
@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan, 1e30])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_reference_that_is_not_finite_or_too_long_changes_nothing(
    value: float, sign: int, device: str
) -> None:
    g = [sign * part.float().to(device) for part in tensors(0)]
    before = flat([part.cpu() for part in g])
    reference = [part.float().to(device) for part in tensors(0)]
    reference[0][1, 1] = value
    project(g, reference)
    np.testing.assert_array_equal(flat([part.cpu() for part in g]), before)


def test_a_reference_whose_length_is_lost_changes_nothing() -> None:
    g = [part.float() for part in tensors(0)]
    before = flat(g)
    project(g, [-1e-25 * part for part in g])  # its square is 0 in float32, its product is not
    np.testing.assert_array_equal(flat(g), before)


def strategy_of(model: nn.Module, rows: Any, precision: str = "float32") -> Any:
    exactly = Precision(precision)
    return SimpleNamespace(
        model=model,
        outputs=lambda x: exactly.outputs(model, x),
        precision=exactly,
        steps=Steps(),
        _criterion=nn.MSELoss(),
        train_mb_size=4,
        device=torch.device("cpu"),
        rows_device=torch.device("cpu"),
        experience=SimpleNamespace(dataset=SimpleNamespace(tensors=rows)),
        clock=SimpleNamespace(train_exp_counter=0),
        group=ALONE,
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


def test_gem_leaves_out_a_memory_whose_gradient_is_not_finite_and_asks_the_others() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    sound, broken = rows(0), rows(1)
    broken[1][0] = torch.inf
    reference = gradient_of(model, *sound[:2])
    found = []
    for stored in ([sound], [sound, broken], [broken, sound], [broken]):
        plugin = Gem(size=4, memories=3, strength=0.0)
        for some in stored:
            plugin.after_training_exp(strategy_of(model, some))
        set_gradient(model, -reference)
        plugin.before_update(strategy_of(model, sound))
        found.append(flat([p.grad for p in model.parameters()]))
    alone, *both, none = found
    assert np.abs(alone).max() < 1e-3 * np.abs(reference).max()  # all of it went against
    for with_broken in both:
        np.testing.assert_allclose(with_broken, alone, atol=1e-6 * np.abs(reference).max())
    np.testing.assert_array_equal(none, -reference.astype(np.float32))


PLUGINS: dict[str, Callable[[], Any]] = {
    "agem": lambda: Agem(10, None),
    "gem": lambda: Gem(size=4, memories=2, strength=0.0),
}
by_kind = pytest.mark.parametrize("kind", PLUGINS)


@by_kind
def test_under_float16_a_reference_is_as_exact_as_in_float32(kind: str) -> None:
    model = nn.Linear(3, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    x, _, task = rows(0, 1)
    y = torch.full((1, 1), 1e-8)  # the loss' slope at the output is -2e-8: 0 in float16
    some = (x, y, task)
    r = -2e-8 * torch.cat([x[0], torch.ones(1)]).double().numpy()
    g = -r + np.array([1e-8, -3e-8, 2e-8, 0.0])
    assert g @ r < 0
    plugin = PLUGINS[kind]()
    plugin.after_training_exp(strategy_of(model, some))
    set_gradient(model, g)
    plugin.before_update(strategy_of(model, some, "float16"))
    expected = g - (g @ r) / (r @ r) * r
    found = flat([p.grad for p in model.parameters()])
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(g).max())


@by_kind
def test_a_reference_is_of_rows_as_they_are_trained_on(kind: str) -> None:
    model, plugin = nn.Linear(3, 1), PLUGINS[kind]()
    x, y, task = rows(0, 1)
    plugin.after_training_exp(strategy_of(model, (x, y, task)))
    strategy = strategy_of(model, (x, y, task))
    strategy.steps = Steps(augment=lambda x: x.flip(1) + 1)
    r = gradient_of(model, x.flip(1) + 1, y)
    g = -r + np.array([0.1, 0.2, -0.3, 0.4])
    assert g @ r < 0
    set_gradient(model, g)
    plugin.before_update(strategy)
    found = flat([p.grad for p in model.parameters()])
    expected = g - (g @ r) / (r @ r) * r
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(g).max())
    assert torch.equal(plugin.state().tensors["x"], x)


NORMED = """
from torch import nn

def make(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, outputs))
"""


@pytest.fixture
def normed(tmp_path: Path) -> Any:
    (tmp_path / "normed.py").write_text(NORMED)
    return {"factory": f"{tmp_path / 'normed.py'}:make"}


@pytest.mark.parametrize(
    ("strategy", "key"),
    [
        ({"name": "agem", "batch_size": 1}, "batch_size"),
        ({"name": "agem", "size": 1}, "size"),
        ({"name": "gem", "size": 1}, "size"),
    ],
)
def test_a_reference_of_one_row_is_refused_with_batch_normalisation(
    strategy: dict[str, Any], key: str, normed: Any
) -> None:
    config = config_of([strategy], model=normed)
    learner = new(config)
    result = (
        f"{strategy['name']}: {key} = 1: the model has batch normalisation, which needs at least"
    )
    with pytest.raises(ConfigError, match=result):
        learn(learner, 0, config)  # at once, not when there is a memory
    assert learner.cursor == ()
    assert len(learned(config_of([strategy]), 2).cursor) == 2
    enough = config_of([{**strategy, key: 2}], model=normed)
    assert len(learned(enough, 2).cursor) == 2


@by_kind
def test_a_memory_that_has_one_row_all_the_same_is_not_asked(kind: str, normed: Any) -> None:
    config = config_of([{"name": kind, "size": 5}], model=normed)
    learner = learned(config, 1)
    kept = learner.memory[kind].tensors
    learner.memory[kind] = State({key: values[:1] for key, values in kept.items()})
    learn(learner, 1, config)
    assert len(learner.memory[kind].tensors["x"]) == {"agem": 5, "gem": 6}[kind]


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
