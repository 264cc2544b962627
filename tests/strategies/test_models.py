"""Network bodies by name, a user's own, and every way to get it wrong; see test_bodies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from perdure.errors import ConfigError
from perdure.strategies.features.modules import Inputs
from perdure.strategies.models import BUILT_IN, build, built_in

OWN = """
from torch import nn

def small(inputs, outputs, width=3):
    return nn.Sequential(nn.Linear(inputs, width), nn.Linear(width, outputs))

def wrong_shape(inputs, outputs):
    return nn.Linear(inputs, outputs + 1)

def wrong_input(inputs, outputs):
    return nn.Linear(inputs + 1, outputs)

def of_any_shape(inputs, outputs):
    size = 1
    for side in inputs:
        size *= side
    return nn.Sequential(nn.Flatten(), nn.Linear(size, outputs))

class Mean(nn.Module):
    def forward(self, x):
        return (x[:, :, :2] * x[:, :, -1:]).sum(1) / x[:, :, -1:].sum(1)

def no_items(inputs, outputs):
    return Mean()

def partly_still(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 3).eval(), nn.Linear(3, outputs))

class Squeezed(nn.Linear):
    def forward(self, x):
        return super().forward(x).squeeze()

def squeezed(inputs, outputs):
    return Squeezed(inputs, outputs)

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
    assert sorted(BUILT_IN) == ["cnn", "lstm", "mlp", "transformer"]


def test_every_classifier_of_torchvision_is_built_in() -> None:
    known = torchvision.models.list_models(module=torchvision.models)
    assert {"resnet18", "vit_b_16", "efficientnet_b0", "convnext_tiny"} <= set(known)
    found = [built_in(name) for name in known]
    assert all(one is not None and one.takes == ("images",) for one in found)
    for name in ("quantized_resnet18", "fcn_resnet50", "r3d_18", "resnet", "", "a.b:c"):
        assert built_in(name) is None


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
        ("mlq", {}, r"model\.factory = 'mlq': is neither built in \(cnn, lstm, mlp, transf"),
        ("resnet19", {}, r"torchvision's resnet18, "),
        (":x", {}, "neither built in"),
        ("own/none.py:small", {}, "FileNotFoundError"),
        ("own/net.py:none", {}, "has no function none"),
        ("own/net.py:constant", {}, "has no function constant"),
        ("broken.py:x", {}, "ModuleNotFoundError"),
        ("no.such.package:x", {}, "ModuleNotFoundError"),
        ("own/net.py:wrong_shape", {}, r"gives shape \(2, 3\) for 2 rows, not \(2, 2\)"),
        ("own/net.py:squeezed", {}, r"gives shape \(2,\) for 1 rows, not \(1, 2\)"),
        ("own/net.py:wrong_input", {}, r"fails on \(2, 4\)"),
        ("own/net.py:no_module", {}, "gives a str, no Module"),
        ("mlp", {"hidden": [0]}, r"model\.parameters = .*whole numbers from 1"),
        ("mlp", {"hidden": "12"}, r"hidden = '12': must be a list of whole numbers from 1"),
        ("mlp", {"hidden": 12}, r"hidden = 12: must be a list of whole numbers from 1"),
        ("mlp", {"hidden": [True]}, r"hidden = \[True\]: must be a list of whole numbers from 1"),
        ("mlp", {"dropout": 1.0}, "must be at least 0 and below 1"),
        ("mlp", {"dropout": "0.1"}, "dropout = '0.1': must be at least 0 and below 1"),
        ("mlp", {"depth": 3}, "unexpected keyword argument 'depth'"),
    ],
)
def test_each_fault_names_its_key(
    root: Path, factory: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build(factory, 4, 2, parameters, root)
    assert str(root / "perdure.toml") in str(caught.value)


IMAGE, ITEMS = (3, 32, 32), (6, 3)


@pytest.mark.parametrize(
    ("factory", "inputs", "parameters", "message"),
    [
        ("cnn", IMAGE, {"widths": []}, r"widths = \[\]: must have at least one width"),
        ("cnn", IMAGE, {"widths": [4, -1]}, r"widths = \[4, -1\]: must be a list of whole numbers"),
        ("cnn", IMAGE, {"dropout": -0.1}, r"dropout = -0\.1: must be at least 0 and below 1"),
        ("lstm", ITEMS, {"hidden": 0}, "hidden = 0: must be a whole number from 1"),
        ("lstm", ITEMS, {"hidden": 2.5}, r"hidden = 2\.5: must be a whole number from 1"),
        ("lstm", ITEMS, {"layers": 9}, "layers = 9: must be a whole number from 1 to 8"),
        ("lstm", ITEMS, {"bidirectional": 1}, "bidirectional = 1: must be true or false"),
        ("transformer", ITEMS, {"heads": 3}, "width = 64: must be a multiple of heads = 3"),
        ("transformer", ITEMS, {"heads": True}, "heads = True: must be a whole number from 1"),
        ("transformer", ITEMS, {"layers": 0}, "layers = 0: must be a whole number from 1 to 48"),
        ("transformer", ITEMS, {"positions": "no"}, "one of 'sinusoidal', 'learned'"),
        ("transformer", ITEMS, {"pooling": "max"}, "'max': must be one of 'mean', 'class'"),
        ("resnet18", IMAGE, {"norm": "layer"}, "norm = 'layer': must be one of 'batch', 'group'"),
        ("resnet18", IMAGE, {"size": 4}, "size = 4: must be a whole number from 8 to 4096"),
        ("resnet18", IMAGE, {"dropout": 2}, "dropout = 2: must be at least 0 and below 1"),
        ("resnet18", IMAGE, {"progress": True}, "unexpected keyword argument 'progress'"),
        ("vit_b_16", (3, 20, 32), {}, "vit_b_16 takes square images, not 20 x 32: set size"),
        ("vit_b_32", (3, 40, 40), {}, "vit_b_32 does not take images of 40 x 40"),
        ("maxvit_t", (3, 100, 100), {}, "maxvit_t does not take images of 100 x 100"),
        ("alexnet", IMAGE, {}, r"fails on \(2, 3, 32, 32\): .*too small"),
        ("cnn", 4, {}, "takes images, and the features are tables; for these there are mlp, or"),
        ("resnet18", 4, {}, "'resnet18': takes images, and the features are tables"),
        ("lstm", 4, {}, "takes texts and sequences, and the features are tables"),
        (
            "transformer", IMAGE, {},
            r"features are images; for these there are cnn, mlp, torchvision's .*resnet18",
        ),
        (
            "cnn", ITEMS, {},
            "features are texts and sequences; for these there are lstm, mlp, transformer, or",
        ),
        ("own/net.py:no_items", ITEMS, {}, "not finite for a row of zeros, or of only padding"),
    ],
)  # fmt: skip
def test_each_fault_of_other_inputs_names_its_key_value_and_range(
    root: Path, factory: str, inputs: Inputs, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build(factory, inputs, 2, parameters, root)
    assert "model." + ("parameters" if parameters else "factory") in str(caught.value)


def test_a_users_own_gets_the_shape_of_an_image_and_of_a_sequence(root: Path) -> None:
    for inputs in (IMAGE, ITEMS):
        body = build("own/net.py:of_any_shape", inputs, 2, {}, root)
        assert body(torch.zeros(5, *inputs)).shape == (5, 2)


def test_the_modes_of_a_body_stay_as_its_factory_set_them(root: Path) -> None:
    body = build("own/net.py:partly_still", 4, 2, {}, root)
    assert [layer.training for layer in body.children()] == [False, True]
