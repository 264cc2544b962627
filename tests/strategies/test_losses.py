"""The loss that is trained on, against its formula, and the plain one that is watched."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from perdure.errors import ConfigError
from perdure.strategies.features.columns import FeatureSpec
from perdure.strategies.features.encoding import encode, encode_target
from perdure.strategies.training import losses
from tests.strategies.small import ROOT, config_of, learn, new, spec_of, table

LABELS: list[tuple[tuple[Any, ...], list[str]]] = [
    (("no", "yes", "maybe"), ["no", "yes", "maybe"]),
    ((3, 5, 7), ["3", "5", "7"]),
    ((False, True), ["false", "true"]),
]


def spec_with(labels: tuple[Any, ...]) -> FeatureSpec:
    return FeatureSpec(spec_of().columns, "y", "classification", labels)


def training(**values: Any) -> Any:
    return config_of(["naive"], **values).training


def by_hand(outputs: Tensor, y: Tensor, weights: list[float], smoothing: float) -> float:
    """Σ ℓ / Σ w, each row's ℓ as the module's docstring has it."""
    total = below = 0.0
    for f, target in zip(outputs.double().numpy(), y.tolist(), strict=True):
        minus_log = np.log(np.exp(f).sum()) - f
        total += (1 - smoothing) * weights[target] * minus_log[target]
        total += smoothing / len(f) * float(np.dot(weights, minus_log))
        below += weights[target]
    return total / below


def test_balanced_weights_are_inverse_to_how_often_a_class_is_there() -> None:
    y = torch.tensor([0] * 6 + [2] * 3 + [3])
    # 10 rows, 3 classes among them; class 1 has none.
    expected = torch.tensor([10 / 18, 1.0, 10 / 9, 10 / 3])
    torch.testing.assert_close(losses.balanced(y, 4), expected)
    even = torch.arange(4).repeat(5)
    assert torch.equal(losses.balanced(even, 4), torch.ones(4))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(("labels", "names"), LABELS)
def test_the_loss_is_that_of_the_formula(
    labels: tuple[Any, ...], names: list[str], smoothing: float
) -> None:
    spec = spec_with(labels)
    torch.manual_seed(0)
    y = torch.tensor([0, 0, 0, 0, 1, 1])
    outputs = torch.randn(6, len(labels))
    chosen = {names[0]: 2.5, names[-1]: 0.5}
    named = [chosen.get(name, 1.0) for name in names]
    balanced = losses.balanced(y, len(labels)).tolist()
    for value, weights in ((chosen, named), ("balanced", balanced), (None, [1.0] * len(labels))):
        config = training(class_weights=value, label_smoothing=smoothing)
        found = losses.criterion(config, spec, y, ROOT)(outputs, y)
        assert float(found) == pytest.approx(by_hand(outputs, y, weights, smoothing), rel=1e-5)


def test_a_weight_of_no_class_is_refused() -> None:
    config = training(class_weights={"yes": 2.0, "jein": 3.0})
    with pytest.raises(
        ConfigError, match=r"class_weights.jein is of no class; the classes are no,"
    ):
        losses.criterion(config, spec_of(), torch.tensor([0, 1]), ROOT)


@pytest.mark.parametrize(
    ("name", "each"),
    [
        ("mse", lambda e: e * e),
        ("mae", abs),
        ("huber", lambda e: e * e / 2 if abs(e) < 1 else abs(e) - 0.5),
    ],
)
def test_the_losses_of_a_regression(name: str, each: Any) -> None:
    config = config_of(["naive"], "regression", loss=name).training
    errors = [0.3, -0.9, 2.0, -5.0]
    outputs = torch.tensor(errors)[:, None]
    criterion = losses.criterion(config, spec_of("regression"), outputs, ROOT)
    found = float(criterion(outputs, torch.zeros(4, 1)))
    assert found == pytest.approx(np.mean([each(e) for e in errors]))


def test_weights_change_training_and_not_what_is_watched() -> None:
    plain: dict[str, Any] = {
        "optimizer": {"name": "sgd", "momentum": 0.0}, "learning_rate": 0.1, "epochs": 1,
        "batch_size": 60, "model": {"parameters": {"hidden": [8]}},
    }  # fmt: skip
    config = config_of(["naive"], class_weights={"yes": 5.0}, label_smoothing=0.1, **plain)
    learner = new(config)
    model = copy.deepcopy(learner.model)
    columns, target = table(0)
    y = encode_target(learner.spec, target)
    weighted = nn.CrossEntropyLoss(torch.tensor([1.0, 5.0]), label_smoothing=0.1)
    loss = weighted(model(learner.prepare(encode(learner.spec, columns))), y)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    trained = learn(learner, 0, config)
    for p, q, g in zip(learner.model.parameters(), model.parameters(), gradients, strict=True):
        torch.testing.assert_close(p, q - 0.1 * g)
    watched, truth = table(100, rows=20)
    right = learner.predict(watched)[np.arange(20), (truth == "yes").astype(int)]
    assert trained.epochs[0].validation_loss == pytest.approx(-np.log(right).mean(), rel=1e-5)
