"""Promise 2 from the other side: without any one part of the state, the future is another."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from perdure.errors import Corrupt
from perdure.strategies.learner import files
from perdure.strategies.learner.learner import CLOCK, Learner
from perdure.strategies.learner.state import State
from tests.strategies.small import (
    CASES,
    ROOT,
    config_of,
    copied,
    learn,
    learned,
    names_of,
    new,
    table,
)

WHOLE = {
    "weights", "features", "optimizer", "clock", "random.torch", "random.numpy", "random.python",
}  # fmt: skip
PARTS = {
    case: WHOLE | {f"memory.{name}" for name in names_of(case) if name != "naive"} for case in CASES
}
EVERY = sorted((case, part) for case in PARTS for part in PARTS[case])
ANEW = {"weights", "optimizer"}
NOT_NEEDED = {
    "gdumb": ANEW,
    "joint": ANEW,
}
"""A new model and a new optimizer each time: what was there before them does not count."""

DRAWING = """
import random
import numpy as np
from torch import nn

class Drawing(nn.Module):
    '''Draws from numpy and from Python while it trains, as a user's own model may.'''
    def __init__(self, inputs, outputs):
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)
    def forward(self, x):
        if self.training:
            x = x * (1 + 0.1 * np.random.rand()) + 0.1 * random.gauss(0, 1)
        return self.layer(x)
"""


def drop(learner: Learner, part: str) -> None:
    """Leave a part out: it is what a new learner would have."""
    fresh = new(config_of(["naive"], model=MODEL))
    if part == "weights":
        learner.model = fresh.model
    elif part == "features":
        columns, _ = table(1)  # what statistics fitted anew on the next rows would be
        learner.prepare = Learner.new(
            learner.spec, config_of(["naive"], model=MODEL), ROOT, columns
        ).prepare
    elif part == "optimizer":
        learner.optimizer = fresh.optimizer
    elif part == "clock":
        learner.clock = fresh.clock
    elif part.startswith("random."):
        learner.streams[part] = fresh.streams[part]
    else:
        learner.memory[part.removeprefix("memory.")] = State()


MODEL: dict[str, object] = {}


@pytest.fixture(autouse=True, scope="module")
def drawing_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("model") / "drawing.py"
    path.write_text(DRAWING)
    MODEL["factory"] = f"{path}:Drawing"


@cache
def one(case: str) -> Learner:
    """A case's learner after one experience; to be copied."""
    return learned(config_of(CASES[case], model=MODEL), 1)


@cache
def two(case: str) -> tuple[str, str]:
    """The digests after two."""
    learner = copied(one(case))
    learn(learner, 1, config_of(CASES[case], model=MODEL))
    return learner.weights_sha256, learner.state_sha256


def test_every_part_is_known() -> None:
    for case, expected in PARTS.items():
        assert set(one(case).parts()) == expected
        assert set(files.REQUIRED) == WHOLE


@pytest.mark.parametrize(("case", "part"), EVERY)
def test_leaving_a_part_out_changes_the_future(case: str, part: str) -> None:
    config = config_of(CASES[case], model=MODEL)
    whole, maimed = one(case), copied(one(case))
    drop(maimed, part)
    assert (maimed.weights_sha256, maimed.state_sha256) != (
        whole.weights_sha256,
        whole.state_sha256,
    )
    learn(maimed, 1, config)
    weights, state = two(case)
    if part == "clock" and case not in NOT_NEEDED:
        # Nothing here counts experiences, but a user's plugin may.
        assert maimed.state_sha256 != state
    elif part in NOT_NEEDED.get(case, ()):
        assert (maimed.weights_sha256, maimed.state_sha256) == (weights, state)
    else:
        assert maimed.weights_sha256 != weights


@pytest.mark.parametrize(
    ("case", "part"), [e for e in EVERY if e[0] == "naive" or e[1] not in WHOLE]
)
def test_a_folder_without_a_part_is_refused(case: str, part: str, tmp_path: Path) -> None:
    config = config_of(CASES[case], model=MODEL)
    folder = tmp_path / "learner"
    one(case).save(folder)
    assert Learner.load(folder, config, ROOT).cursor == ("000000",)
    _rewrite(folder, part)
    with pytest.raises(Corrupt, match=part):
        files.verify(folder)
    with pytest.raises(Corrupt, match=part):
        Learner.load(folder, config, ROOT)


def test_a_clock_that_contradicts_the_cursor_is_refused(tmp_path: Path) -> None:
    config = config_of(["naive"], model=MODEL)
    learner = learned(config, 1)
    learner.clock = dict.fromkeys(CLOCK, 0)
    learner.save(tmp_path / "learner")
    with pytest.raises(Corrupt, match="learned 0 experiences, but its cursor lists 1"):
        Learner.load(tmp_path / "learner", config, ROOT)


def _rewrite(folder: Path, part: str) -> None:
    """The folder as a Perdure that forgot the part would have written it: sums and all."""
    values = json.loads((folder / files.VALUES).read_text())
    del values["parts"][part]
    contents = {
        path.name: path.read_bytes()
        for path in folder.glob("*.safetensors")
        if path.name != f"{part}.safetensors"
    }
    for path in folder.iterdir():
        path.unlink()
    files.write(folder, {**contents, files.VALUES: json.dumps(values).encode()})
