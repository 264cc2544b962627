"""What a network sees of a time, and of a word that is hashed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from perdure.config import Config, DataConfig, ModelConfig
from perdure.reading.formats import CYCLES, TimeFormat
from perdure.strategies.export import graph
from perdure.strategies.features import items
from perdure.strategies.features.columns import FIRST, MISSING, Column, FeatureSpec
from perdure.strategies.features.encoding import encode
from perdure.strategies.features.modules import Network, Prepare
from perdure.strategies.learner.learner import Learner

WHEN = Column("when", "time", time=TimeFormat(), sees=("elapsed", "year", "week", "day"))
WORD = Column("word", "category", buckets=8)
SPEC = FeatureSpec((Column("x", "number"), WHEN, WORD), "y", "classification", ("no", "yes"))
TIMES = np.array([0.0, 1e6, 2e6, np.nan, 1.7e9])
COLUMNS = {
    "x": np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
    "when": TIMES,
    "word": np.array(["a", "b", None, "a", "never seen"], dtype=object),
}


def prepared() -> tuple[Prepare, torch.Tensor]:
    prepare, raw = Prepare(SPEC), encode(SPEC, COLUMNS)
    prepare.fit(raw[:4])
    return prepare, prepare(raw)


def test_times_become_what_has_passed_and_points_on_circles() -> None:
    prepare, rows = prepared()
    known = TIMES[:3]
    mean, scale = known.mean(), known.std()
    assert prepare.mean[1].item() == pytest.approx(mean)
    assert rows.shape == (5, SPEC.plain + 1)
    for row, time in enumerate(TIMES):
        seen = rows[row, 1:8].tolist()
        if math.isnan(time):
            assert seen == [0.0] * 7
            continue
        expected = [math.asinh((time - mean) / scale)]
        for cycle in ("year", "week", "day"):
            turn = 2 * math.pi * time / CYCLES[cycle]
            expected += [math.sin(turn), math.cos(turn)]
        np.testing.assert_allclose(seen, expected, atol=1e-5)
    # Marks of what is missing: of the number, then of the time; then the code of the word.
    assert rows[:, 8].tolist() == [0.0] * 5
    assert rows[:, 9].tolist() == [0.0, 0.0, 0.0, 1.0, 0.0]


def test_a_time_far_ahead_is_not_clamped() -> None:
    prepare, _ = prepared()
    later = encode(SPEC, {**COLUMNS, "when": np.array([1e9, 1e10, 1e11, 1e12, 1e13])})
    elapsed = prepare(later)[:, 1]
    assert (elapsed.diff() > 0).all()
    assert elapsed[-1] < 20.0


def test_a_time_that_was_constant_waits_for_its_scale() -> None:
    prepare = Prepare(SPEC)
    prepare.fit(encode(SPEC, {**COLUMNS, "when": np.full(5, 1e9)}))
    still = prepare(encode(SPEC, {**COLUMNS, "when": np.full(5, 2e9)}))
    assert still[:, 1].tolist() == [0.0] * 5
    moving = encode(SPEC, {**COLUMNS, "when": 1e9 + np.arange(5.0)})
    prepare.fit_constant(moving)
    assert prepare(moving)[:, 1].unique().numel() == 5


def test_words_have_the_code_of_their_bucket_for_ever() -> None:
    codes = encode(SPEC, COLUMNS)[:, 2].tolist()
    assert codes[2] == MISSING
    assert codes[0] == codes[3] == FIRST + items.bucket("a", 8)
    assert codes[4] == FIRST + items.bucket("never seen", 8)
    assert [items.bucket(word, 1024) for word in ("a", "b", "Oslo")] == [64, 644, 861]


def test_the_descriptions_come_back() -> None:
    assert FeatureSpec.from_json(SPEC.to_json()) == SPEC
    assert Network.inputs(SPEC) == SPEC.plain + 5


def test_a_learner_of_times_is_saved_exported_and_served_alike(tmp_path: Path) -> None:
    config = Config(model=ModelConfig(name="m"), data=DataConfig(target="y", task="classification"))
    learner = Learner.new(SPEC, config, tmp_path, COLUMNS)
    learner.save(tmp_path / "saved")
    again = Learner.load(tmp_path / "saved", config, tmp_path)
    assert again.state_sha256 == learner.state_sha256
    raw = encode(SPEC, COLUMNS)
    graph.export(learner.inference(), raw, tmp_path / "model.pt2")
    served = graph.load(tmp_path / "model.pt2")
    with torch.no_grad():
        expected = learner.inference()(raw)
        assert torch.equal(again.inference()(raw), expected)
    with torch.no_grad():
        torch.testing.assert_close(served(raw[:3]), expected[:3], rtol=1e-6, atol=1e-7)
