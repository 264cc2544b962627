"""What a learner gets where perdure.toml says nothing: bins of numbers, and epochs by the rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from perdure.config import Config, TrainingConfig
from perdure.errors import ConfigError
from perdure.strategies.features.columns import Column, FeatureSpec
from perdure.strategies.features.encoding import encode
from perdure.strategies.features.modules import Network
from perdure.strategies.learner import files
from perdure.strategies.learner.learner import Learner
from perdure.strategies.learner.state import State, digest
from perdure.strategies.training import duration, engine, watching
from perdure.strategies.training.duration import Duration
from perdure.strategies.training.precision import Precision
from perdure.strategies.training.stopping import Stopping
from tests.strategies.small import ROOT, config_of, learn, new, spec_of, table

BINS = 16
TABLE = FeatureSpec(
    (Column("a", "number"), Column("b", "number"), Column("c", "category", ("x", "y"))), "t",
    "regression", (),
)  # fmt: skip


def features(z: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Of one column by a network that was fitted on it, (rows, bins)."""
    network = Network(TABLE, nn.Identity(), bins=BINS)
    rows = torch.zeros(len(z), TABLE.plain + 1)
    rows[:, 0] = torch.from_numpy(z)
    network.fit(rows)
    found = network(rows)
    assert found.shape == (len(z), Network.inputs(TABLE, BINS))
    start = TABLE.plain
    each: npt.NDArray[np.float32] = found[:, start : start + BINS].detach().numpy()
    return each


def test_bins_are_the_piecewise_linear_features_of_quantiles() -> None:
    z = np.random.default_rng(0).normal(size=500).astype(np.float32)
    edges = np.quantile(z, np.linspace(0, 1, BINS + 1))
    place = np.searchsorted(edges, z, side="right") - 1
    expected = np.zeros((500, BINS))
    for row, bin_ in enumerate(place.clip(0, BINS - 1)):
        low, high = edges[bin_], edges[bin_ + 1]
        expected[row, :bin_] = 1.0
        expected[row, bin_] = (z[row] - low) / (high - low)
    np.testing.assert_allclose(features(z) * 4, expected, atol=2e-3)


@pytest.mark.parametrize(
    ("values", "used"),
    [
        ([0.0], 0),
        ([0.0, 1.0], 1),
        ([-1.0, 0.0, 2.0], 2),
        ([0.0, 1e-9], 0),  # one value but for rounding
        (list(np.linspace(-2, 2, BINS)), BINS - 1),
        ([0.0] * 400 + list(np.linspace(0, 3, 60)), 3),  # most quantiles are one value
    ],
)
def test_few_values_use_few_bins(values: list[float], used: int) -> None:
    found = features(np.array(values * 3, dtype=np.float32))
    assert np.isfinite(found).all()
    assert int((found.max(axis=0) > 0).sum()) == used


def test_bins_do_not_hang_on_the_order_of_rows_and_stay_when_learning_goes_on() -> None:
    config = config_of(["replay"])
    one, other = new(config), new(config)
    columns, target = table(0)
    turned = np.random.default_rng(1).permutation(len(target))
    again = Learner.new(
        spec_of(), config, ROOT, {k: v[turned] for k, v in columns.items()}, target[turned]
    )
    assert torch.equal(one.model.edges, again.model.edges)
    learn(other, 3, config)
    assert torch.equal(one.model.edges, other.model.edges)
    fresh = other.fresh()
    assert torch.equal(fresh.edges, one.model.edges)
    assert torch.equal(fresh.slopes, one.model.slopes)


def older(learner: Learner, folder: Path) -> Path:
    """A saved learner as it was written before there were bins."""
    learner.save(folder)
    values, contents = files.read(folder)
    recipe = values["recipe"]
    assert (recipe.pop("bins"), recipe.pop("edition")) == (0, 2)
    again = folder.with_name("older")
    written = json.dumps(values, indent=1, sort_keys=True).encode() + b"\n"
    tensors = {name: data for name, data in contents.items() if name != files.VALUES}
    files.write(
        again, {files.VALUES: written, **{f"{name}.safetensors": d for name, d in tensors.items()}}
    )
    return again


def test_a_learner_of_the_old_defaults_goes_on_with_them(tmp_path: Path) -> None:
    bare = config_of(["replay"], model={"bins": 0}, epochs=None, batch_size=64)
    saved = older(new(bare), tmp_path / "learner")
    silent = config_of(["replay"], model={}, epochs=None, batch_size=64)
    learner = Learner.load(saved, silent, ROOT, spec_of())
    assert (learner.recipe.bins, learner.recipe.edition) == (0, 1)
    trained = learn(learner, 0, silent)
    assert (len(trained.epochs), trained.best_epoch) == (10, None)
    # Ten epochs are what it was.
    ten = config_of(["replay"], model={"bins": 0}, epochs=10, batch_size=64)
    before = new(ten)
    learn(before, 0, ten)
    assert learner.weights_sha256 == before.weights_sha256
    # It is saved as what it is; a new learner gets the new defaults.
    learner.save(tmp_path / "next")
    assert Learner.load(tmp_path / "next", silent, ROOT).recipe == learner.recipe
    young = new(silent)
    assert (young.recipe.bins, young.recipe.edition) == (BINS, 2)
    assert len(learn(young, 0, silent).epochs) > 10


def test_bins_that_change_need_a_new_learner(tmp_path: Path) -> None:
    new(config_of(["replay"])).save(tmp_path / "learner")
    with pytest.raises(ConfigError, match=r"model\.bins = 8: the learner was made with 16"):
        Learner.load(tmp_path / "learner", config_of(["replay"], model={"bins": 8}), ROOT)


def silent(**training: Any) -> TrainingConfig:
    return Config.model_validate(
        {
            "model": {"name": "m"},
            "data": {"target": "y", "task": "classification"},
            "training": training,
        }
    ).training


@pytest.mark.parametrize(
    ("rows", "watched", "share", "epochs", "patience"),
    [
        (1, 5, 1.0, 200, 20),  # at most 200
        (320, 64, 1.0, 60, 6),  # 300 steps
        (320, 64, 0.5, 30, 5),  # half of all rows: half of the steps
        (320, 64, 0.1, 10, None),  # at least 10 epochs, and then all of them
        (1_000_000, 9, 1.0, 10, None),
        (320, 0, 1.0, 30, 5),  # nothing is watched: half of it
    ],
)
def test_epochs_are_for_so_many_steps(
    rows: int, watched: int, share: float, epochs: int, patience: int | None
) -> None:
    found = duration.choose(silent(), rows, watched, share, edition=2)
    assert found == Duration(epochs, patience, sure=patience is not None)
    assert duration.choose(silent(patience=3), rows, watched, share, 2) == Duration(epochs, 3)
    assert duration.choose(silent(epochs=4), rows, watched, share, 2) == Duration(4, None)
    assert duration.choose(silent(), rows, watched, share, edition=1) == Duration(10, None)


def stops(losses: list[list[float]], *, sure: bool) -> tuple[int, int | None]:
    """Epochs that are seen, and the best one."""
    model = nn.Linear(1, 1)
    left = iter(losses)
    stopping = Stopping(
        2, 0.0, (), lambda: torch.tensor(next(left), dtype=torch.float64), sure=sure
    )
    optimizer = torch.optim.SGD(model.parameters())
    for _ in losses:
        if stopping.see(model, optimizer, Precision()):
            break
    return stopping.epochs, stopping.best


def test_an_epoch_that_is_better_by_luck_is_no_better() -> None:
    luck = [[1.0, 1.0, 1.0], [0.0, 1.3, 1.3], [1.0, 1.0, 1.0], [0.9, 0.9, 0.9]]
    assert stops(luck, sure=True) == (3, 1)
    assert stops(luck, sure=False) == (4, 2)
    steady = [[1.0, 2.0, 3.0], [0.9, 1.9, 2.9], [0.8, 1.7, 2.8]]
    assert stops(steady, sure=True) == stops(steady, sure=False) == (3, 3)
    one_row = [[1.0], [0.5], [0.4]]
    assert stops(one_row, sure=True) == (3, 3)


def test_past_validation_rows_are_watched_and_kept_with_the_learner(tmp_path: Path) -> None:
    config = config_of(["replay"], epochs=None)
    learner = new(config)
    for number in range(3):
        learn(learner, number, config)
    assert len(learner.watched.tensors["y"]) == 60
    held = [
        learner.prepare(encode(learner.spec, table(100 + number, rows=20)[0]))
        for number in range(3)
    ]
    assert torch.equal(learner.watched.tensors["x"], torch.cat(held))
    learner.save(tmp_path / "learner")
    again = Learner.load(tmp_path / "learner", config, ROOT)
    assert again.state_sha256 == learner.state_sha256
    for one in (learner, again):
        learn(one, 3, config)
    assert again.weights_sha256 == learner.weights_sha256
    assert again.state_sha256 == learner.state_sha256
    # They count: without them the next experience is learned otherwise.
    other = Learner.load(tmp_path / "learner", config, ROOT)
    other.watched = State()
    learn(other, 3, config)
    assert other.weights_sha256 != learner.weights_sha256
    # Where perdure.toml says how long, they neither count nor grow.
    before = digest({"watched": learner.watched})
    learn(learner, 4, config_of(["replay"], epochs=2))
    assert digest({"watched": learner.watched}) == before


def test_of_past_validation_rows_a_uniform_sample_is_kept() -> None:
    kept = State()
    for number in range(40):
        y = torch.full((100,), number)
        kept = watching.sample(watching.joined(kept, torch.ones(100, 2), y, number))
    assert len(kept.tensors["y"]) == watching.MOST
    assert kept.values == {"seen": 4000}
    counts = torch.bincount(kept.tensors["y"], minlength=40)
    assert counts.min() > 10  # 25 of each are to be expected, with a deviation of 5
    assert counts.max() < 45
    assert torch.equal(kept.tensors["y"], kept.tensors["y"].sort().values)


def test_few_rows_are_learned_with_every_default() -> None:
    """A line through 34 rows; ten epochs would be ten steps."""
    spec = FeatureSpec((Column("x", "number"),), "y", "regression", ())
    x = np.random.default_rng(0).uniform(-3, 3, 48)
    config = Config.model_validate(
        {"model": {"name": "m"}, "data": {"target": "y", "task": "regression"}}
    )
    learner = Learner.new(spec, config, ROOT, {"x": x[:34]}, 2 * x[:34])
    trained = engine.learn(
        learner, "0", {"x": x[:34]}, 2 * x[:34], {"x": x[34:40]}, 2 * x[34:40], config
    )
    assert trained.best_epoch is not None
    away = learner.predict({"x": x[40:]}) - 2 * x[40:]
    assert float(np.square(away).mean()) < 0.05 * float(np.var(2 * x))
