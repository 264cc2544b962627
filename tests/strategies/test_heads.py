"""Task-incremental learning: a category column says which head a row's outputs come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from perdure.config import Config
from perdure.errors import ConfigError
from perdure.strategies.export import graph
from perdure.strategies.features.columns import Array, Column, FeatureSpec
from perdure.strategies.features.encoding import encode
from perdure.strategies.learner import growth
from perdure.strategies.learner.learner import Learner
from perdure.strategies.training import engine
from tests.strategies.small import ROOT, config_of

SPEC = FeatureSpec(
    (Column("a", "number"), Column("site", "category", ("north", "south"))),
    "y", "classification", ("no", "yes"),
)  # fmt: skip


def configured(**more: Any) -> Config:
    model = {"heads": more.pop("heads", "site"), "parameters": {"hidden": [8]}}
    return config_of(["naive"], model=model, epochs=20, learning_rate=0.02, **more)


def rows(site: str, sign: float, seed: int) -> tuple[dict[str, Array], Array]:
    """Of one site: its rule is the other's, turned round."""
    a = np.random.default_rng(seed).normal(size=80)
    words = np.where(sign * a > 0, "yes", "no").astype(object)
    return {"a": a, "site": np.array([site] * 80, dtype=object)}, words


def accuracy(learner: Learner, columns: dict[str, Array], target: Array) -> float:
    result = np.array(learner.spec.labels, dtype=object)[learner.predict(columns).argmax(axis=1)]
    return float((result == target).mean())


def test_each_value_has_outputs_of_its_own() -> None:
    config = configured()
    north, south = rows("north", 1.0, 0), rows("south", -1.0, 1)
    learner = Learner.new(SPEC, config, ROOT, north[0])
    assert learner.model.state_dict()["body.2.weight"].shape == (2 * (2 + 2), 8)
    engine.learn(learner, "1", *north, *north, config)
    head = learner.model.state_dict()["body.2.weight"].unflatten(0, (2, 4)).clone()
    assert accuracy(learner, *north) > 0.95
    # Another optimizer begins afresh: without momentum a head without gradients stays.
    engine.learn(learner, "2", *south, *south, configured(optimizer="sgd"))
    after = learner.model.state_dict()["body.2.weight"].unflatten(0, (2, 4))
    assert torch.equal(after[:, 2], head[:, 2])  # north's head, while south was learned
    assert not torch.equal(after[:, 3], head[:, 3])
    assert accuracy(learner, *south) > 0.9


def test_saved_grown_and_exported(tmp_path: Path) -> None:
    config = configured()
    north = rows("north", 1.0, 0)
    learner = Learner.new(SPEC, config, ROOT, north[0])
    engine.learn(learner, "1", *north, *north, config)
    before = learner.predict(north[0])
    wider = replace(SPEC, labels=("no", "yes", "maybe"))
    learner.save(tmp_path / "one")
    loaded = Learner.load(tmp_path / "one", config, ROOT, wider)
    np.testing.assert_array_equal(loaded.predict(north[0]), before)
    with torch.no_grad():
        x = learner.prepare(encode(SPEC, north[0]))
        logits = loaded.model(x)
        growth.grow(loaded, wider)
        torch.testing.assert_close(loaded.model(x)[:, :2], logits)
    graph.export(loaded.inference(), encode(SPEC, north[0]), tmp_path / "model.pt2")


def test_a_column_that_is_no_category_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.heads = 'a': is no category column") as caught:
        Learner.new(SPEC, configured(heads="a"), ROOT, rows("north", 1.0, 0)[0])
    assert "site" in str(caught.value)


def test_another_column_is_another_model(tmp_path: Path) -> None:
    learner = Learner.new(SPEC, configured(), ROOT, rows("north", 1.0, 0)[0])
    learner.save(tmp_path / "one")
    with pytest.raises(ConfigError, match=r"model\.heads = None"):
        Learner.load(tmp_path / "one", configured(heads=None), ROOT)
