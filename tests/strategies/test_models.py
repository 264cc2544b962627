"""Network bodies: the built-in one, a user's own, and every way to get it wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from perdure.errors import ConfigError
from perdure.strategies.models import BUILT_IN, build

OWN = """
from torch import nn

def small(inputs, outputs, width=3):
    return nn.Sequential(nn.Linear(inputs, width), nn.Linear(width, outputs))

def wrong_shape(inputs, outputs):
    return nn.Linear(inputs, outputs + 1)

def wrong_input(inputs, outputs):
    return nn.Linear(inputs + 1, outputs)

def no_module(inputs, outputs):
    return "no"

constant = 3
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "net.py").write_text(OWN)
    (tmp_path / "broken.py").write_text("import nothing_like_this\n")
    return tmp_path


def test_the_built_in_names_are_pinned() -> None:
    assert sorted(BUILT_IN) == ["mlp"]


def test_mlp_has_the_layers_that_it_is_told() -> None:
    body = build("mlp", 5, 3, {"hidden": [7, 4], "dropout": 0.5}, Path())
    assert [type(layer).__name__ for layer in body.children()] == [
        "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear",
    ]  # fmt: skip
    assert [tuple(p.shape) for p in body.parameters() if p.dim() == 2] == [(7, 5), (4, 7), (3, 4)]
    assert [tuple(p.shape) for p in build("mlp", 5, 3, {"hidden": []}, Path()).parameters()] == [
        (3, 5),
        (3,),
    ]


def test_a_users_own_by_file_and_by_module(root: Path) -> None:
    body = build("own/net.py:small", 4, 2, {"width": 6}, root)
    assert body(torch.zeros(9, 4)).shape == (9, 2)
    assert body.training
    assert isinstance(build("torch.nn:Linear", 4, 2, {}, root), nn.Linear)


def test_a_file_that_was_changed_is_read_anew_and_nothing_is_left_beside_it(root: Path) -> None:
    path = root / "own" / "net.py"
    first = build("own/net.py:small", 4, 2, {}, root)
    path.write_text(OWN.replace("width=3", "width=5"))  # the same second, the same size
    second = build("own/net.py:small", 4, 2, {}, root)
    assert [next(b.parameters()).shape[0] for b in (first, second)] == [3, 5]
    assert list((root / "own").iterdir()) == [path]


@pytest.mark.parametrize(
    ("factory", "parameters", "message"),
    [
        ("mlq", {}, r"model\.factory = 'mlq': is neither built in \(mlp\) nor"),
        (":x", {}, "neither built in"),
        ("own/none.py:small", {}, "FileNotFoundError"),
        ("own/net.py:none", {}, "has no function none"),
        ("own/net.py:constant", {}, "has no function constant"),
        ("broken.py:x", {}, "ModuleNotFoundError"),
        ("no.such.package:x", {}, "ModuleNotFoundError"),
        ("own/net.py:wrong_shape", {}, r"gives shape \(2, 3\) for 2 rows, not \(2, 2\)"),
        ("own/net.py:wrong_input", {}, r"fails on \(2, 4\)"),
        ("own/net.py:no_module", {}, "gives a str, no Module"),
        ("mlp", {"hidden": [0]}, r"model\.parameters = .*whole numbers from 1"),
        ("mlp", {"dropout": 1.0}, "must be at least 0 and below 1"),
        ("mlp", {"depth": 3}, "unexpected keyword argument 'depth'"),
    ],
)
def test_each_fault_names_its_key(
    root: Path, factory: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build(factory, 4, 2, parameters, root)
    assert str(root / "perdure.toml") in str(caught.value)
