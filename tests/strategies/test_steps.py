"""From a batch to a step: accumulation, clipping, L1, precision, optimizers, against oracles."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from perdure.errors import ConfigError, DataRefused
from perdure.strategies.features.encoding import encode, encode_target
from perdure.strategies.learner.learner import Learner
from perdure.strategies.learner.state import State, digest
from perdure.strategies.plugins.curve import Curve
from perdure.strategies.training import engine, optimizers
from tests.strategies.small import (
    ROOT,
    config_of,
    copied,
    learn,
    learned,
    new,
    reloaded,
    spec_of,
    table,
)

PLAIN: dict[str, Any] = {
    "optimizer": {"name": "sgd", "momentum": 0.0},
    "learning_rate": 0.1,
    "epochs": 1,
    "model": {"parameters": {"hidden": [8]}},
}
"""Plain gradient descent: a step is -0.1 times the gradient."""
NORMED = """
from torch import nn

def make(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, outputs))
"""


def weights(learner: Learner) -> list[Tensor]:
    return [p.detach() for p in learner.model.parameters()]


def one_step(**training: Any) -> list[Tensor]:
    """Weights after one step on all 60 rows."""
    config = config_of(["naive"], **{**PLAIN, "batch_size": 60, **training})
    learner = new(config)
    learn(learner, 0, config)
    return weights(learner)


def gradients(l1: float = 0.0) -> tuple[list[Tensor], list[Tensor]]:
    """First weights, and the gradient of the mean loss of 60 rows there, by autograd alone."""
    learner = new(config_of(["naive"], **PLAIN))
    columns, target = table(0)
    loss = nn.functional.cross_entropy(
        learner.model(learner.prepare(encode(learner.spec, columns))),
        encode_target(learner.spec, target),
    )
    parameters = list(learner.model.parameters())
    loss = loss + l1 * sum(p.abs().sum() for p in parameters)
    return weights(learner), list(torch.autograd.grad(loss, parameters))


def close(
    found: list[Tensor],
    expected: list[Tensor],
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)


class Watching(Curve):
    """Notes what happens around every step."""

    calls: ClassVar[list[str]] = []

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        self.calls.append("before")

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        self.calls.append("after")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(engine, "Curve", Watching)
    monkeypatch.setattr(Watching, "calls", [])
    return Watching.calls


# In turns: a whole group; one that ends in a smaller batch; one that the pass leaves incomplete.
@pytest.mark.parametrize(("batch", "together", "large"), [(15, 4, 60), (16, 4, 60), (16, 3, 48)])
def test_accumulated_batches_are_one_large_batch(batch: int, together: int, large: int) -> None:
    plain = {**PLAIN, "epochs": 3}

    def after(**training: Any) -> list[Tensor]:
        return weights(learned(config_of(["naive"], **{**plain, **training}), 1))

    expected = after(batch_size=large)
    close(after(batch_size=batch, accumulate=together), expected, rtol=1e-5, atol=1e-6)
    apart = after(batch_size=batch)
    assert not torch.allclose(apart[0], expected[0], rtol=1e-3)


@pytest.mark.parametrize("chosen", ["balanced", {"yes": 7.0}])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_accumulated_batches_are_one_large_batch_with_class_weights(
    chosen: Any, smoothing: float
) -> None:
    """Of both a group that is whole, and one that the pass leaves incomplete."""
    plain = {**PLAIN, "epochs": 2, "class_weights": chosen, "label_smoothing": smoothing}
    columns, target = table(0)
    target[:40], target[40:] = "yes", "no"  # so that weights differ between the batches

    def after(**training: Any) -> list[Tensor]:
        config = config_of(["naive"], **{**plain, **training})
        learner = new(config)
        engine.learn(learner, "0", columns, target, *table(9, rows=0), config)
        return weights(learner)

    for batch, together, large in ((15, 4, 60), (16, 3, 48)):
        expected = after(batch_size=large)
        found = after(batch_size=batch, accumulate=together)
        close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_group_of_batches_is_one_update(calls: list[str]) -> None:
    learned(config_of(["naive"], epochs=2, batch_size=10, accumulate=4), 1)
    assert calls == ["before", "after"] * 4  # 6 batches a pass: a group of 4, then one of 2


def test_gradients_are_clipped_to_their_norm_together() -> None:
    before, gradient = gradients()
    norm = torch.cat([g.flatten() for g in gradient]).norm()
    assert norm > 0.05
    clipped = [p - 0.1 * g * (0.05 / norm) for p, g in zip(before, gradient, strict=True)]
    close(one_step(clip_norm=0.05), clipped, rtol=1e-4, atol=1e-7)
    close(one_step(clip_norm=1e6), one_step())


def test_the_l1_penalty_is_what_autograd_says() -> None:
    before, gradient = gradients(l1=0.3)
    expected = [p - 0.1 * g for p, g in zip(before, gradient, strict=True)]
    close(one_step(l1=0.3), expected)
    assert not torch.allclose(one_step()[0], expected[0])


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_gives_nearly_the_same_step(precision: str) -> None:
    before, gradient = gradients()
    after = one_step(precision=precision)
    assert all(p.dtype == torch.float32 for p in after)
    assert not torch.equal(after[0], one_step()[0])
    for p, q, g in zip(after, before, gradient, strict=True):
        torch.testing.assert_close((q - p) / 0.1, g, rtol=0.1, atol=0.02 * float(g.abs().max()))


def scale(learner: Learner) -> float:
    return float(learner.optimizer.values["scaler"]["scale"])


def with_scale(learner: Learner, value: float) -> Learner:
    state = {"scale": value, "growth_factor": 2.0, "backoff_factor": 0.5}
    state |= {"growth_interval": 2000, "_growth_tracker": 0}
    learner.optimizer.values["scaler"] = state
    return learner


def test_a_step_that_overflows_is_left_out_with_its_hooks(calls: list[str]) -> None:
    config = config_of(["naive"], **{**PLAIN, "precision": "float16", "batch_size": 60})
    learner = with_scale(new(config), 2.0**60)
    before = copied(learner)
    learn(learner, 0, config)
    assert learner.weights_sha256 == before.weights_sha256
    assert scale(learner) == 2.0**59
    assert calls == []
    learn(with_scale(learner, 1024.0), 1, config)
    assert learner.weights_sha256 != before.weights_sha256
    assert calls == ["before", "after"]


def test_the_scale_of_float16_is_part_of_the_learner(tmp_path: Path) -> None:
    config = config_of(["replay"], precision="float16")
    learner = with_scale(learned(config, 1), 2.0**40)
    without = copied(learner)
    del without.optimizer.values["scaler"]
    loaded = reloaded(learner, tmp_path / "learner", config)
    for one in (learner, loaded, without):
        learn(one, 1, config)
    assert scale(learner) < 2.0**40
    assert loaded.weights_sha256 == learner.weights_sha256
    assert loaded.state_sha256 == learner.state_sha256
    assert without.weights_sha256 != learner.weights_sha256
    learn(learner, 2, config_of(["replay"]))
    assert "scaler" not in learner.optimizer.values


OPTIMIZERS: list[Any] = [
    {"name": "sgd", "momentum": 0.5, "nesterov": True, "weight_decay": 0.1},
    {"name": "adam", "betas": [0.8, 0.9], "eps": 1e-3, "amsgrad": True},
    {"name": "adamw", "weight_decay": 0.3},
    {"name": "rmsprop", "alpha": 0.8, "momentum": 0.4, "centered": True},
]


@pytest.mark.parametrize("chosen", OPTIMIZERS, ids=lambda chosen: str(chosen["name"]))
def test_an_optimizer_with_settings_does_what_torchs_does(chosen: dict[str, Any]) -> None:
    config = config_of(["naive"], optimizer=chosen, learning_rate=0.05)
    torch.manual_seed(0)
    ours = nn.Linear(5, 3)
    theirs = copy.deepcopy(ours)
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW,
             "rmsprop": torch.optim.RMSprop}  # fmt: skip
    settings = {key: value for key, value in chosen.items() if key != "name"}
    pairs = [
        (ours, optimizers.make(config.training, ours)),
        (theirs, kinds[chosen["name"]](theirs.parameters(), lr=0.05, foreach=False, **settings)),
    ]
    for step in range(4):
        x = torch.randn(7, 5, generator=torch.Generator().manual_seed(step))
        for model, optimizer in pairs:
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    close(list(ours.parameters()), list(theirs.parameters()))


@pytest.mark.parametrize("chosen", OPTIMIZERS, ids=lambda chosen: str(chosen["name"]))
def test_an_optimizer_goes_on_or_begins_anew_as_configured(
    chosen: dict[str, Any], tmp_path: Path
) -> None:
    config = config_of(["naive"], optimizer=chosen)
    whole = learned(config, 1)
    loaded = reloaded(whole, tmp_path / "one", config)
    emptied = copied(whole)
    emptied.optimizer = State(values={"name": chosen["name"], "other": {}})
    fresh = copied(whole)
    for one in (whole, loaded, emptied):
        learn(one, 1, config)
    learn(fresh, 1, config_of(["naive"], optimizer=chosen, carry_optimizer=False))
    assert loaded.weights_sha256 == whole.weights_sha256 != emptied.weights_sha256
    assert fresh.weights_sha256 == emptied.weights_sha256
    assert not fresh.optimizer.tensors


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"name": "adam"}, {"name": "adam", "amsgrad": True}),
        ({"name": "rmsprop"}, {"name": "rmsprop", "centered": True}),
        ({"name": "rmsprop"}, {"name": "rmsprop", "momentum": 0.5}),
    ],
)
def test_a_setting_that_needs_more_memory_begins_anew(before: Any, after: Any) -> None:
    learner = learned(config_of(["naive"], optimizer=before), 1)
    emptied = copied(learner)
    emptied.optimizer = State(values={"name": None, "other": {}})
    for one in (learner, emptied):
        learn(one, 1, config_of(["naive"], optimizer=after))
    assert digest({"w": learner.optimizer}) == digest({"w": emptied.optimizer})
    assert learner.weights_sha256 == emptied.weights_sha256


def test_sparse_gradients_are_left_to_the_optimizer_that_knows_them() -> None:
    config = config_of(["naive"], optimizer="sgd")
    assert optimizers.make(config.training, nn.Linear(2, 2)).defaults["fused"]
    sparse = nn.Embedding(4, 2, sparse=True)
    assert not optimizers.make(config.training, sparse).defaults["fused"]


@pytest.mark.parametrize("strategy", ["naive", "replay", "ewc"])
def test_batch_normalisation_survives_a_last_batch_of_one_row(
    strategy: str, tmp_path: Path
) -> None:
    (tmp_path / "normed.py").write_text(NORMED)
    model = {"factory": f"{tmp_path / 'normed.py'}:make"}
    config = config_of([strategy], model=model)
    columns, target = table(0, rows=33)
    none = {name: values[:0] for name, values in columns.items()}
    learner = Learner.new(spec_of(), config, ROOT, columns)
    for number in range(2):
        engine.learn(learner, str(number), columns, target, none, target[:0], config)
    assert learner.predict(columns).shape == (33, 2)
    # The memory's rows fill the last batch of the second time.
    assert learner.clock["train_iterations"] == 2 * (2 + (3 if strategy == "replay" else 2))
    with pytest.raises(ConfigError, match=r"training.batch_size = 1: the model has batch norm"):
        learn(learner, 2, config_of([strategy], model=model, batch_size=1))
    one = {name: values[:1] for name, values in columns.items()}
    with pytest.raises(DataRefused, match="1 training row; the model has batch normalisation"):
        engine.learn(learner, "2", one, target[:1], none, target[:0], config)


def test_rows_a_second_are_those_that_the_network_saw() -> None:
    config = config_of([{"name": "replay", "size": 50, "batch_size": 16}])
    learner = learned(config, 1)
    trained = learn(learner, 1, config)
    assert trained.rows == 60
    assert trained.rows_per_second is not None
    assert np.isfinite(trained.rows_per_second)
    assert trained.rows_per_second > 60 * 2 / trained.seconds
    assert trained.accelerator_bytes is None
