"""Random changes of training images: the same from the same seed, and of nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from perdure.config.training import AugmentationConfig
from perdure.errors import ConfigError
from perdure.strategies.features.columns import Column, FeatureSpec
from perdure.strategies.features.encoding import encode
from perdure.strategies.learner.learner import Learner
from perdure.strategies.training import augmentation, engine
from tests.strategies.small import ROOT, config_of, learn, new, spec_of

SHAPE = (6, 8, 3)
SPEC = FeatureSpec((Column("picture", "image", shape=SHAPE),), "y", "classification", ("a", "b"))
ALL: dict[str, Any] = {"crop": 2, "flip": True, "rotation": 20.0, "colour": 0.3, "erasing": 0.5}
FLAT = """
from torch import nn

def make(inputs, outputs):
    c, h, w = inputs
    return nn.Sequential(nn.Flatten(), nn.Linear(c * h * w, outputs))
"""


def images(rows: int, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    """uint8 (rows, channels, height, width); no pixel is black."""
    height, width, channels = shape
    generator = torch.Generator().manual_seed(seed)
    size = (rows, channels, height, width)
    return torch.randint(1, 256, size, dtype=torch.uint8, generator=generator)


def changed(x: Tensor, seed: int = 0, spec: FeatureSpec = SPEC, **settings: Any) -> Tensor:
    augment = augmentation.make(AugmentationConfig(**settings), spec, ROOT)
    assert augment is not None
    torch.manual_seed(seed)
    return augment(x)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("key", ALL)
def test_each_change_keeps_shape_and_type_and_follows_the_seed(key: str, channels: int) -> None:
    shape = (6, 8, channels)
    spec = FeatureSpec((Column("p", "image", shape=shape),), "y", "classification", ("a", "b"))
    x = images(50, shape=shape)
    before = x.clone()
    found = changed(x, spec=spec, **{key: ALL[key]})
    assert (found.shape, found.dtype) == (x.shape, torch.uint8)
    assert torch.equal(x, before)
    assert not torch.equal(found, x)
    assert torch.equal(found, changed(x, spec=spec, **{key: ALL[key]}))
    assert not torch.equal(found, changed(x, seed=1, spec=spec, **{key: ALL[key]}))


def test_a_flip_turns_whole_groups_around() -> None:
    x = images(400)
    found = changed(x, flip=True)
    groups = list(
        zip(torch.split(found, augmentation.GROUP), torch.split(x, augmentation.GROUP), strict=True)
    )
    kept = [torch.equal(one, other) for one, other in groups]
    turned = [torch.equal(one, other.flip(3)) for one, other in groups]
    assert all(a != b for a, b in zip(kept, turned, strict=True))
    assert 10 < sum(kept) < 40


def test_a_crop_moves_by_at_most_the_border() -> None:
    x = images(400)
    wide = torch.nn.functional.pad(x, (2, 2, 2, 2))
    moves = set()
    found = changed(x, crop=2)
    for place in range(0, 400, augmentation.GROUP):
        part = slice(place, place + augmentation.GROUP)
        fits = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if torch.equal(found[part], wide[part, :, i : i + 6, j : j + 8])
        ]
        assert len(fits) == 1
        moves |= set(fits)
    assert len(moves) > 15


def test_nothing_is_done_where_nothing_is_asked() -> None:
    assert augmentation.make(AugmentationConfig(), SPEC, ROOT) is None
    assert augmentation.make(AugmentationConfig(), spec_of(), ROOT) is None


def test_it_is_refused_for_what_is_no_image() -> None:
    config = config_of(["naive"], augmentation={"flip": True})
    with pytest.raises(ConfigError, match=r"augmentation is for images; .* are a table"):
        learn(new(config), 0, config)


def rows(seed: int) -> tuple[dict[str, Any], Any]:
    pictures = np.empty(40, dtype=object)
    for place, image in enumerate(images(40, seed)):
        pictures[place] = image.permute(1, 2, 0).numpy().tobytes()
    return {"picture": pictures}, np.array(["a", "b"] * 20, dtype=object)


@pytest.mark.parametrize("name", ["replay", "agem", "gem"])
def test_a_stopped_learner_goes_on_with_the_same_draws_and_keeps_plain_rows(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "flat.py").write_text(FLAT)
    model = {"factory": f"{tmp_path / 'flat.py'}:make"}
    strategies = [{"name": name, "size": 30}]
    config = config_of(strategies, model=model, augmentation=ALL)

    def learned(stopped: bool, chosen: Any = config) -> Learner:
        learner = Learner.new(SPEC, chosen, ROOT, *rows(0))
        for number in range(2):
            engine.learn(learner, str(number), *rows(number), *rows(9), chosen, None)
            if stopped:
                place = tmp_path / str(number)
                learner.save(place)
                learner = Learner.load(place, chosen, ROOT, SPEC)
        return learner

    whole, stopped = learned(False), learned(True)
    assert whole.weights_sha256 == stopped.weights_sha256
    assert whole.state_sha256 == stopped.state_sha256
    plain = learned(False, config_of(strategies, model=model))
    assert whole.weights_sha256 != plain.weights_sha256
    seen = torch.cat([encode(SPEC, rows(number)[0]) for number in range(2)])
    for kept in whole.memory[name].tensors["x"]:
        assert any(torch.equal(kept, one) for one in seen)
