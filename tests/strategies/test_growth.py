"""A class that nobody had seen: the outputs grow, and what was learned stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from perdure.errors import ConfigError
from perdure.strategies.features.columns import Array
from perdure.strategies.features.encoding import encode
from perdure.strategies.learner import growth
from perdure.strategies.learner.learner import Learner
from perdure.strategies.training import engine
from tests.strategies.small import CASES, ROOT, config_of, copied, learned, spec_of, table

WIDER = replace(spec_of(), labels=("no", "yes", "maybe", "never"))


def three(number: int) -> tuple[dict[str, Array], Array]:
    """An experience in which a third of the rows are of a class that was never seen."""
    columns, target = table(number)
    target = target.copy()
    target[::3] = "maybe"
    return columns, target


def logits(learner: Learner) -> torch.Tensor:
    columns, _ = table(9)
    with torch.no_grad():
        found: torch.Tensor = learner.model(learner.prepare(encode(learner.spec, columns)))
    return found


@pytest.mark.parametrize("case", list(CASES))
def test_what_was_learned_stays(case: str) -> None:
    learner = learned(config_of(CASES[case], optimizer="adam"), 2)
    before, twin = copied(learner), copied(learner)
    growth.grow(learner, WIDER)
    assert learner.spec.labels == WIDER.labels
    torch.testing.assert_close(logits(learner)[:, :2], logits(before), rtol=1e-6, atol=1e-6)
    assert logits(learner)[:, 2:].std() > 0
    for name, new in learner.optimizer.tensors.items():
        old = before.optimizer.tensors[name]
        kept = new[tuple(slice(size) for size in old.shape)]
        assert torch.equal(kept, old)
        assert new.sum() == pytest.approx(float(old.sum()), rel=1e-5)  # what is new is zero
    growth.grow(twin, WIDER)
    assert (twin.weights_sha256, twin.state_sha256) == (
        learner.weights_sha256, learner.state_sha256,
    )  # fmt: skip
    assert learner.streams["random.torch"].tensors["state"].tolist() != (
        before.streams["random.torch"].tensors["state"].tolist()
    )


@pytest.mark.parametrize("case", list(CASES))
def test_the_new_class_is_learned_and_saved(case: str, tmp_path: Path) -> None:
    config = config_of(CASES[case], epochs=4)
    learner = learned(config, 2)
    growth.grow(learner, WIDER)
    learner.save(tmp_path / "grown")
    loaded = Learner.load(tmp_path / "grown", config, ROOT, WIDER)
    for one in (learner, loaded):
        engine.learn(one, "2", *three(2), *three(102), config)
        engine.learn(one, "3", *three(3), *three(103), config)
    assert (loaded.weights_sha256, loaded.state_sha256) == (
        learner.weights_sha256, learner.state_sha256,
    )  # fmt: skip
    found = learner.predict(three(3)[0])
    assert found.shape == (60, 4)
    assert np.isfinite(found).all()


def test_nothing_new_changes_nothing() -> None:
    learner = learned(config_of(["replay"]), 1)
    before = learner.weights_sha256, learner.state_sha256
    growth.grow(learner, spec_of())
    assert (learner.weights_sha256, learner.state_sha256) == before


def test_labels_keep_their_places() -> None:
    learner = learned(config_of(["naive"]), 1)
    with pytest.raises(ValueError, match="do not begin with"):
        growth.grow(learner, replace(spec_of(), labels=("yes", "no", "maybe")))


def test_a_new_class_is_told_from_the_others_after_training() -> None:
    config = config_of(["replay"], epochs=30, learning_rate=0.01)
    learner = learned(config, 1)
    growth.grow(learner, WIDER)
    columns, target = table(1, rows=300)
    columns["a"], target = columns["a"].copy(), target.copy()
    columns["a"][::3], target[::3] = 40.0, "maybe"  # far from all others
    engine.learn(learner, "1", columns, target, *table(101), config)
    result = np.array(learner.spec.labels, dtype=object)[learner.predict(columns).argmax(axis=1)]
    assert (result[::3] == "maybe").mean() > 0.95
    assert (result[1::3] == "maybe").mean() < 0.05


def test_a_model_that_cannot_grow_is_refused_and_nothing_changed(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(
        "from torch import nn\n"
        "def odd(inputs, outputs):\n"
        "    width = 12 // outputs\n"
        "    return nn.Sequential(nn.Linear(inputs, width), nn.Linear(width, outputs))\n"
    )
    config = config_of(["naive"], model={"factory": "odd.py:odd"})
    learner = Learner.new(spec_of(), config, tmp_path, table(0)[0])
    before = learner.weights_sha256, learner.state_sha256
    with pytest.raises(ConfigError, match="cannot grow from 2 to 4 outputs"):
        growth.grow(learner, WIDER)
    assert (learner.weights_sha256, learner.state_sha256) == before
