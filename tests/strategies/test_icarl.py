"""iCaRL: herding, the loss, and prediction by the nearest mean, registered too."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from perdure.errors import ConfigError
from perdure.strategies.export import graph
from perdure.strategies.features.encoding import encode
from perdure.strategies.icarl.plugin import Icarl, herd
from perdure.strategies.learner.state import State
from perdure.strategies.models.nearest import NearestMean, features, nearest_mean
from perdure.strategies.parallel.group import ALONE
from tests.strategies.small import config_of, copied, learn, learned, reloaded, table

CONFIG = config_of([{"name": "icarl", "size": 20}])


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 14))
def test_herding_is_the_greedy_choice_of_the_paper(seed: int, rows: int, count: int) -> None:
    points = np.random.default_rng(seed).normal(size=(rows, 3))
    found = herd(torch.tensor(points), count).tolist()
    assert len(set(found)) == len(found) == min(count, rows)
    for k, best in enumerate(found, start=1):  # algorithm 4, by trying every row
        total = points[found[: k - 1]].sum(axis=0)
        distance = np.linalg.norm(points.mean(axis=0) - (points + total) / k, axis=1)
        left = [i for i in range(rows) if i not in found[: k - 1]]
        assert distance[best] <= distance[left].min() + 1e-12  # two rows may be equally good


def test_herding_is_better_than_the_average_choice() -> None:
    points = torch.randn(7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = points.mean(0)
    every = [
        float((points[list(some)].mean(0) - mean).norm())
        for some in itertools.combinations(range(7), 3)
    ]
    found = float((points[herd(points, 3)].mean(0) - mean).norm())
    assert found < float(np.median(every))


def step(plugin: Icarl, found: list[list[float]], y: list[int], new: list[bool]) -> float:
    strategy: Any = SimpleNamespace(
        mb_output=torch.tensor(found), mb_y=torch.tensor(y), mb_x=torch.zeros(len(y), 1),
        mbatch=[None, None, None, torch.tensor(new)], group=ALONE,
    )  # fmt: skip
    return float(plugin.objective(strategy))


def bce(z: float, target: float) -> float:
    p = 1 / (1 + np.exp(-z))
    return float(-target * np.log(p) - (1 - target) * np.log(1 - p))


def test_the_loss_is_that_of_the_formula() -> None:
    plugin = Icarl(10)
    found = [[0.5, -1.0, 2.0], [1.0, 0.0, -2.0]]
    first = np.mean([bce(z, float(c == y)) for row, y in zip(found, (2, 0), strict=True)
                     for c, z in enumerate(row)])  # fmt: skip
    assert step(plugin, found, [2, 0], [True, True]) == pytest.approx(first, rel=1e-6)

    class Teacher(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[3.0, -3.0, 9.0], [0.0, 1.0, 9.0]])

    plugin._teacher, plugin._old = Teacher(), torch.tensor([0, 1])
    old = [[1 / (1 + np.exp(-z)) for z in row] for row in ([3.0, -3.0], [0.0, 1.0])]
    # An exemplar of class 0 and a new row of class 2: both distilled for the classes 0 and 1.
    expected = [bce(0.5, old[0][0]), bce(-1, old[0][1]), bce(2, 1),
                bce(1, old[1][0]), bce(0, old[1][1]), bce(-2, 0)]  # fmt: skip
    assert step(plugin, found, [2, 0], [True, False]) == pytest.approx(np.mean(expected), rel=1e-6)
    # A new row of a class that was known teaches its own class.
    expected[3] = bce(1, 1)
    assert step(plugin, found, [2, 0], [True, True]) == pytest.approx(np.mean(expected), rel=1e-6)


def unit(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.sqrt((values**2).sum(axis=1, keepdims=True))
    scaled: npt.NDArray[np.float32] = values / lengths
    return scaled


def test_prediction_is_the_nearest_mean_of_the_exemplars() -> None:
    learner = learned(CONFIG, 2)
    held = learner.memory["icarl"].tensors
    assert held["y"].tolist() == [0] * 10 + [1] * 10
    assert held["means"].shape == (2, 8)
    # By hand: the hidden layer's values are what the last layer gets.
    columns, _ = table(5)
    layers = learner.model.body
    assert isinstance(layers, nn.Sequential)
    with torch.no_grad():

        def phi(x: torch.Tensor) -> npt.NDArray[np.float32]:
            plain, code, model = x[:, :4], x[:, 4].long(), learner.model
            bins = ((x[:, :2, None] - model.edges) * model.slopes).clamp(0, 1).flatten(1) / 4
            embedded = torch.cat([plain, bins, model.embeddings[0](code)], dim=1)
            return unit(layers[:-1](embedded).numpy())

        means = unit(np.stack([phi(held["x"][held["y"] == c]).mean(axis=0) for c in (0, 1)]))
        query = phi(learner.prepare(encode(learner.spec, columns)))
    distance = ((query[:, None] - means[None]) ** 2).sum(axis=2)
    expected = np.exp(-distance) / np.exp(-distance).sum(axis=1, keepdims=True)
    found = learner.predict(columns)
    np.testing.assert_allclose(held["means"].numpy(), means, atol=1e-6)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    plain = copied(learner)
    plain.memory = {}
    assert np.abs(plain.predict(columns) - found).max() > 0.05


def test_what_is_registered_predicts_alike(tmp_path: Path) -> None:
    learner = learned(CONFIG, 2)
    columns, _ = table(5)
    raw = encode(learner.spec, columns)
    graph.export(learner.inference(), raw, tmp_path / "model.pt2")
    loaded = graph.load(tmp_path / "model.pt2")
    with torch.no_grad():
        result = loaded(raw).numpy()
    np.testing.assert_allclose(result, learner.predict(columns), atol=1e-6)
    again = reloaded(learner, tmp_path / "learner", CONFIG)
    np.testing.assert_array_equal(again.predict(columns), learner.predict(columns))


def test_exemplars_shrink_as_classes_come_and_the_first_chosen_stay() -> None:
    plugin = Icarl(12)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4))
    held: dict[int, torch.Tensor] = {}
    for number, classes in enumerate([(0, 1), (2,), (3,)]):
        y = torch.tensor(classes).repeat_interleave(20)
        rows = (torch.randn(len(y), 3), y, torch.zeros_like(y))
        experience = SimpleNamespace(dataset=SimpleNamespace(tensors=rows))
        strategy: Any = SimpleNamespace(
            model=network, experience=experience, device=torch.device("cpu"), group=ALONE
        )
        plugin.after_training_exp(strategy)
        share = 12 // (number + 2)
        found = {c: x for c, (x, _, _) in plugin.exemplars.items()}
        assert {c: len(x) for c, x in found.items()} == dict.fromkeys(range(number + 2), share)
        for c, x in held.items():
            assert torch.equal(found[c], x[:share])
        held = found
    assert plugin.means is not None
    torch.testing.assert_close(plugin.means.norm(dim=1), torch.ones(4))


def test_a_class_without_exemplars_is_never_predicted() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 4))
    state = State({"means": torch.eye(2), "y": torch.tensor([0, 1, 1])})
    changed = nearest_mean(network, state)
    assert isinstance(changed, nn.Sequential)
    assert isinstance(changed[1], NearestMean)
    assert isinstance(network[1], nn.Linear)
    p = torch.softmax(changed(torch.randn(5, 2)), dim=1)
    assert (p[:, 2:] == 0).all()
    assert (p[:, :2] > 0).all()
    assert nearest_mean(network, State()) is network


class After(nn.Module):
    """Does something after its last linear layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = 2 * self.layer(x)
        return result


def test_a_model_that_does_not_end_in_a_linear_layer_is_refused_before_training() -> None:
    config = config_of(["icarl"], model={"factory": f"{__name__}:After"})
    with pytest.raises(ConfigError, match="does something after its last linear layer"):
        learned(config, 1)
    with pytest.raises(ConfigError, match="has no linear layer"):
        features(nn.Flatten(), torch.zeros(1, 2))


def test_fewer_exemplars_than_classes_are_refused() -> None:
    learner = learned(config_of(["naive"]), 1)
    with pytest.raises(ConfigError, match="size = 1 exemplars are fewer than the 2 classes"):
        learn(learner, 1, config_of([{"name": "icarl", "size": 1}]))
