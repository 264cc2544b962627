"""A file of trained weights is read when a learner begins, and not by each model after it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor

from perdure.config import Config
from perdure.errors import ConfigError
from perdure.strategies import catalogue
from perdure.strategies.features.columns import Column, FeatureSpec
from perdure.strategies.learner import growth, randomness
from perdure.strategies.learner.learner import Learner
from perdure.strategies.learner.state import State
from perdure.strategies.training import engine
from tests.strategies.small import Table, config_of, copied

SMALL = "shufflenet_v2_x0_5"
SPEC = FeatureSpec(
    (Column("image", "image", shape=(8, 8, 3)),), "y", "classification", ("dark", "light")
)
WIDER = replace(SPEC, labels=("dark", "light", "noisy"))
ANEW = [name for name, strategy in catalogue.discover().items() if strategy.resets_model]


def write(path: Path, seed: int, classes: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    net = torchvision.models.get_model(SMALL, weights=None, num_classes=classes)
    safetensors.torch.save_file(net.state_dict(), path)
    state: dict[str, Tensor] = net.state_dict()
    return state


@pytest.fixture(params=[2, 5], ids=["its classes", "other classes"])
def root(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    write(tmp_path / "small.safetensors", 4, request.param)
    return tmp_path


def config(strategy: Any, rate: float = 1e-3) -> Config:
    model = {"factory": SMALL, "parameters": {"weights": "small.safetensors"}}
    return config_of(
        [strategy], model=model, epochs=1, batch_size=8, optimizer="sgd", learning_rate=rate
    )


def pictures(number: int) -> Table:
    rng = np.random.default_rng(number)
    target = np.array(["dark", "light"] * 8, dtype=object)
    light = (150 * (target == "light")).astype(np.uint8)[:, None, None, None]
    return {"image": rng.integers(0, 99, (16, 8, 8, 3), dtype=np.uint8) + light}, target


def begun(root: Path, strategy: Any) -> Learner:
    learner = Learner.new(SPEC, config(strategy), root, *pictures(0))
    learn(learner, 0, config(strategy))
    return learner


def learn(learner: Learner, number: int, config: Config) -> None:
    columns, target = pictures(number)
    none = {name: values[:0] for name, values in columns.items()}
    engine.learn(learner, str(number), columns, target, none, target[:0], config)


def both(learner: Learner) -> tuple[str, str]:
    return learner.weights_sha256, learner.state_sha256


def from_the_file(learner: Learner) -> dict[str, Tensor]:
    """What a learner that begins now would begin with, its draws those of this one."""
    with randomness.isolated(torch.device("cpu")):
        randomness.restore(learner.streams, torch.device("cpu"))
        return dict(learner.recipe.network(learner.spec, learner.root).body.state_dict())


def from_the_learner(learner: Learner) -> dict[str, Tensor]:
    with randomness.isolated(torch.device("cpu")):
        randomness.restore(learner.streams, torch.device("cpu"))
        return dict(learner.fresh().body.state_dict())


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_those_that_begin_anew_say_so() -> None:
    assert ANEW == ["gdumb", "joint"]


def test_a_model_that_asks_of_what_version_its_weights_are(tmp_path: Path) -> None:
    """MNASNet refuses a plain dict of tensors, which is what any file of ours holds."""
    name, path = "mnasnet0_5", tmp_path / "trained.safetensors"
    net = torchvision.models.get_model(name, weights=None)
    safetensors.torch.save_file(net.state_dict(), path)
    model = {"factory": name, "parameters": {"weights": path.name}}
    config = config_of(["naive"], model=model, epochs=2, batch_size=8, patience=1)
    learner = Learner.new(SPEC, config, tmp_path, *pictures(0))
    first = learner.model.body.state_dict()["net.layers.0.weight"]
    assert torch.equal(first, net.state_dict()["layers.0.weight"])
    engine.learn(learner, "0", *pictures(0), *pictures(9), config)
    learner.save(tmp_path / "saved")
    loaded = Learner.load(tmp_path / "saved", config, tmp_path, WIDER)
    assert both(loaded) == both(learner)
    growth.grow(loaded, WIDER)
    engine.learn(loaded, "1", *pictures(1), *pictures(9), config)


@pytest.mark.parametrize("change", ["gone", "another"])
@pytest.mark.parametrize("strategy", ANEW)
def test_a_version_needs_the_file_no_more(strategy: str, change: str, root: Path) -> None:
    learner = begun(root, strategy)
    learner.save(root / "saved")
    learn(learner, 1, config(strategy))
    learn(learner, 2, config(strategy))
    if change == "gone":
        (root / "small.safetensors").unlink()
    else:
        write(root / "small.safetensors", 5, 5)
    loaded = Learner.load(root / "saved", config(strategy), root, SPEC)
    for number in (1, 2):
        loaded.save(root / f"saved {number}")
        loaded = Learner.load(root / f"saved {number}", config(strategy), root, SPEC)
        learn(loaded, number, config(strategy))
    assert both(loaded) == both(learner)


def test_it_begins_with_the_files_weights_each_time(root: Path) -> None:
    held = safetensors.torch.load_file(root / "small.safetensors")
    learner = begun(root, "joint")
    learn(learner, 1, config("joint"))
    learn(learner, 2, config("joint", rate=1e-30))  # steps too small to be seen
    for name, parameter in learner.model.body.named_parameters():
        if "fc" not in name:
            first = held[name.removeprefix("net.")]
            torch.testing.assert_close(parameter.detach(), first, rtol=0, atol=1e-20)


def test_it_is_part_of_the_state_and_nothing_else_grows(root: Path) -> None:
    learner = begun(root, "gdumb")
    held = safetensors.torch.load_file(root / "small.safetensors")
    assert same(dict(sorted(learner.parts()["first"].tensors.items())), dict(sorted(held.items())))
    maimed = copied(learner)
    maimed.pretrained = State()
    assert maimed.state_sha256 != learner.state_sha256
    write(root / "small.safetensors", 5, 5)
    for one in (learner, maimed):
        learn(one, 1, config("gdumb"))
    assert maimed.weights_sha256 != learner.weights_sha256
    assert "first" not in begun(root, "naive").parts()
    learn(learner, 2, config("naive"))
    assert "first" not in learner.parts()


def test_a_learner_that_comes_from_another_strategy_takes_the_file_up(root: Path) -> None:
    learner = begun(root, "replay")
    learner.save(root / "saved")
    learn(learner, 1, config("gdumb"))
    assert learner.pretrained.tensors
    (root / "small.safetensors").unlink()
    learn(learner, 2, config("gdumb"))
    loaded = Learner.load(root / "saved", config("gdumb"), root, SPEC)
    before = both(loaded)
    with pytest.raises(ConfigError, match=r"weights = 'small.safetensors': cannot be") as caught:
        learn(loaded, 1, config("gdumb"))
    assert "which the learner does not hold: bring it back" in str(caught.value.hint)
    assert both(loaded) == before


def test_with_new_classes_it_begins_as_a_new_learner_of_them_would(root: Path) -> None:
    learner = begun(root, "joint")
    growth.grow(learner, WIDER)
    expected = from_the_file(learner)
    (root / "small.safetensors").unlink()
    found = from_the_learner(learner)
    assert found["net.fc.weight"].shape[0] == 3
    assert found["net.fc.weight"].std(1).min() > 0
    assert same(found, expected)
    learn(learner, 1, config("joint"))
