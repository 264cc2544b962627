"""Images, texts and sequences: from raw values to what a body gets, and to a graph in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn
from torch import Tensor, nn

from perdure.errors import DataRefused
from perdure.strategies.export import graph
from perdure.strategies.features.columns import Column, FeatureSpec
from perdure.strategies.features.encoding import encode
from perdure.strategies.features.modules import Network, Output, Prepare, rows_at_once

IMAGE = Column("picture", "image", shape=(3, 4, 3))
GREY = Column("picture", "image", shape=(3, 4, 1))
TEXT = Column("review", "text", length=5, vocabulary=50, width=6)
SEQUENCE = Column("series", "sequence", length=4)
KINDS = [IMAGE, GREY, TEXT, SEQUENCE]


def spec_of(column: Column) -> FeatureSpec:
    return FeatureSpec((column,), "y", "classification", ("no", "yes"))


def values_of(column: Column, rows: int = 7, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    out = np.empty(rows, dtype=object)
    for row in range(rows):
        if column.kind == "image":
            out[row] = rng.integers(0, 256, column.shape, dtype=np.uint8).tobytes()
        elif column.kind == "text":
            out[row] = " ".join(rng.choice(["one", "two", "three", "four"], rng.integers(1, 9)))
        else:
            out[row] = rng.normal(5.0, 2.0, rng.integers(1, 8))
    return {column.name: out}


class Body(nn.Module):
    """Sees every value, place and mark: a mean over places of a layer, then another."""

    def __init__(self, inputs: Any) -> None:
        super().__init__()
        self.first = nn.Linear(int(np.prod(inputs)), 8)
        self.last = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(torch.relu(self.first(x.flatten(1))))
        return found


def made(column: Column) -> tuple[Prepare, Network]:
    torch.manual_seed(0)
    spec = spec_of(column)
    prepare, network = Prepare(spec), Network(spec, Body(Network.inputs(spec)))
    raw = encode(spec, values_of(column))
    prepare.fit(raw)
    network.fit(prepare(raw))
    return prepare, network.eval()


@pytest.mark.parametrize("column", KINDS)
def test_the_kind_and_its_settings_survive_json(column: Column) -> None:
    spec = spec_of(column)
    assert spec.kind == column.kind
    assert FeatureSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_table_is_written_as_ever() -> None:
    # The learning keys and digests of every workspace hang on it.
    spec = FeatureSpec((Column("a", "number"), Column("c", "category", ("x",))), "y", "regression")
    assert spec.kind == "table"
    assert spec.to_json() == {
        "columns": [
            {"name": "a", "kind": "number", "categories": []},
            {"name": "c", "kind": "category", "categories": ["x"]},
        ],
        "target": "y",
        "task": "regression",
        "labels": [],
    }


@pytest.mark.parametrize(
    "settings_",
    [
        {"kind": "image", "shape": (3, 4, 2)},
        {"kind": "image", "shape": (0, 4, 3)},
        {"kind": "text", "vocabulary": 5, "width": 5},
        {"kind": "text", "length": 5, "vocabulary": 5},
        {"kind": "text", "length": 5, "width": 5, "vocabulary": 5, "tokenizer": "bytes"},
        {"kind": "sequence"},
    ],
)
def test_a_column_that_cannot_be_is_refused(settings_: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="c: "):
        Column("c", **settings_)


def test_such_a_column_stands_alone() -> None:
    with pytest.raises(ValueError, match="picture must be the only feature; there are 2"):
        FeatureSpec((Column("a", "number"), IMAGE), "y", "regression")


@pytest.mark.parametrize("column", [IMAGE, GREY])
def test_pixels_are_put_channel_first_and_lose_nothing(column: Column) -> None:
    height, width, channels = column.shape
    array = np.arange(2 * height * width * channels, dtype=np.uint8).reshape(2, *column.shape)
    as_bytes = np.array([image.tobytes() for image in array], dtype=object)
    found = encode(spec_of(column), {"picture": as_bytes})
    assert found.dtype == torch.uint8
    assert found.is_contiguous()
    assert torch.equal(found, torch.from_numpy(array).permute(0, 3, 1, 2))
    assert torch.equal(encode(spec_of(column), {"picture": array}), found)


@pytest.mark.parametrize("value", [b"12", None, "text", 1.0])
def test_what_is_no_image_of_the_size_is_refused(value: Any) -> None:
    column = np.array([bytes(36), value], dtype=object)
    with pytest.raises(DataRefused, match=r"picture holds .* in row 1; an image is 36 bytes"):
        encode(spec_of(IMAGE), {"picture": column})


def test_a_text_is_its_first_tokens_then_padding() -> None:
    texts = np.array(["one two", None, "", "one two three four one two"], dtype=object)
    found = encode(spec_of(TEXT), {"review": texts})
    assert found.dtype == torch.int32
    one, two, three, four = encode(spec_of(TEXT), {"review": np.array(["one two three four"])})[
        0, :4
    ].tolist()
    assert found.tolist() == [
        [one, two, 0, 0, 0], [0] * 5, [0] * 5, [one, two, three, four, one],
    ]  # fmt: skip
    assert min(one, two, three, four) >= 1
    with pytest.raises(DataRefused, match=r"review holds 3\.5 in row 0; it must be text"):
        encode(spec_of(TEXT), {"review": np.array([3.5], dtype=object)})


def test_a_sequence_is_its_last_numbers_then_padding() -> None:
    series = np.empty(4, dtype=object)
    series[:] = [[1.0, 2.0], None, np.arange(6.0), "7 8"]
    found = encode(spec_of(SEQUENCE), {"series": series})
    assert found.dtype == torch.float64
    nan = np.nan
    expected = [[1, 2, nan, nan], [nan] * 4, [2, 3, 4, 5], [7, 8, nan, nan]]
    np.testing.assert_array_equal(found.numpy(), np.array(expected))
    series[2] = [1.0, "x"]
    with pytest.raises(DataRefused, match="column series, row 2: item 2 is 'x', no number"):
        encode(spec_of(SEQUENCE), {"series": series})


def test_the_body_gets_standardised_pixels_of_the_first_rows() -> None:
    spec, first = spec_of(IMAGE), values_of(IMAGE, rows=20)
    prepare, network = Prepare(spec), Network(spec, nn.Identity())
    raw = encode(spec, first)
    assert prepare(raw) is raw
    network.fit(raw)
    found = network(raw)
    assert found.dtype == torch.float32
    assert found.shape == (20, *Network.inputs(spec))  # type: ignore[misc]  # a shape, here
    pixels = raw.numpy().astype(np.float64)
    mean, scale = pixels.mean((0, 2, 3), keepdims=True), pixels.std((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(found.numpy(), (pixels - mean) / scale, rtol=1e-4, atol=1e-5)
    later = encode(spec, values_of(IMAGE, seed=9))
    np.testing.assert_allclose(
        network(later).numpy(), (later.numpy() - mean) / scale, rtol=1e-4, atol=1e-5
    )


def test_a_constant_channel_becomes_zero() -> None:
    spec = spec_of(IMAGE)
    array = np.full((4, *IMAGE.shape), 200, dtype=np.uint8)
    network = Network(spec, nn.Identity())
    raw = encode(spec, {"picture": array})
    network.fit(raw)
    assert not network(raw).any()


def test_the_statistics_of_pixels_do_not_depend_on_the_order_of_rows() -> None:
    spec, raw = spec_of(IMAGE), encode(spec_of(IMAGE), values_of(IMAGE, rows=50))
    one, other = Network(spec, nn.Identity()), Network(spec, nn.Identity())
    one.fit(raw)
    other.fit(raw.flip(0))
    assert torch.equal(one.mean, other.mean)
    assert torch.equal(one.scale, other.scale)


def test_the_body_gets_an_embedding_and_a_mark_for_each_token() -> None:
    spec = spec_of(TEXT)
    torch.manual_seed(0)
    network = Network(spec, nn.Identity())
    codes = torch.tensor([[3, 3, 7, 0, 0]], dtype=torch.int32)
    found = network(Prepare(spec)(codes))
    assert found.shape == (1, *Network.inputs(spec)) == (1, 5, 7)  # type: ignore[misc]  # a shape
    assert found[0, :, -1].tolist() == [1, 1, 1, 0, 0]
    assert torch.equal(found[0, 0], found[0, 1])
    assert not torch.equal(found[0, 0], found[0, 2])
    assert not found[0, 3:].any()
    found.square().sum().backward()
    embedding = network.embeddings[0]
    assert isinstance(embedding, nn.Embedding)
    assert embedding.weight.grad is not None
    moved = embedding.weight.grad.abs().sum(1).nonzero().flatten().tolist()
    assert moved == [3, 7]  # padding is never learned


def test_the_body_gets_standardised_numbers_and_a_mark_for_each() -> None:
    spec = spec_of(SEQUENCE)
    prepare, network = Prepare(spec), Network(spec, nn.Identity())
    series = np.empty(2, dtype=object)
    series[:] = [[1.0, 3.0], [1.0, 3.0, 3.0, 1.0]]
    raw = encode(spec, {"series": series})
    prepare.fit(raw)
    found = network(prepare(raw))
    assert found.dtype == torch.float32
    assert found[0].tolist() == [[-1, 1], [1, 1], [0, 0], [0, 0]]
    assert found[1].tolist() == [[-1, 1], [1, 1], [1, 1], [-1, 1]]
    assert prepare(torch.full((1, 4), 1e9, dtype=torch.float64))[0, 0].tolist() == [10, 1]


@settings(max_examples=50, deadline=None)
@given(hn.arrays(np.float64, (3, 4), elements=st.floats(width=64)))
def test_whatever_the_sequence_the_network_sees_finite_numbers(values: Any) -> None:
    prepare = Prepare(spec_of(SEQUENCE))
    raw = torch.from_numpy(values)
    prepare.fit(raw)
    assert torch.isfinite(prepare(raw)).all()


@pytest.mark.parametrize("column", KINDS)
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_kind_becomes_a_graph_that_says_the_same(
    column: Column, task: Any, tmp_path: Path
) -> None:
    prepare, network = made(column)
    whole = nn.Sequential(prepare, network, Output(task)).eval()
    probe = encode(spec_of(column), values_of(column))
    graph.export(whole, probe, tmp_path / "model.pt2")
    loaded = graph.load(tmp_path / "model.pt2")
    for rows in (1, 2, 33):
        other = encode(spec_of(column), values_of(column, rows, seed=5))
        with torch.no_grad():
            torch.testing.assert_close(loaded(other), whole(other))


@pytest.mark.parametrize("column", KINDS)
def test_every_kind_has_a_gradient_for_each_row(column: Column) -> None:
    prepare, network = made(column)
    x = prepare(encode(spec_of(column), values_of(column)))
    weights = {name: p.detach() for name, p in network.named_parameters()}

    def loss(weights: Any, row: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(network, weights, (row.unsqueeze(0),))
        return found.square().sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x)
    for row in range(len(x)):
        network.zero_grad()
        network(x[row : row + 1]).square().sum().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None
            torch.testing.assert_close(found[name][row], parameter.grad, rtol=1e-4, atol=1e-5)


def test_fewer_rows_at_once_where_they_are_large() -> None:
    large = FeatureSpec((Column("p", "image", shape=(224, 224, 3)),), "y", "regression")
    huge = FeatureSpec((Column("p", "image", shape=(4000, 4000, 3)),), "y", "regression")
    table = FeatureSpec((Column("a", "number"),), "y", "regression")
    assert rows_at_once(spec_of(GREY), 4096) == 4096
    assert rows_at_once(table, 4096) == 4096
    assert rows_at_once(large, 4096) == 2**22 // (224 * 224 * 3)
    assert rows_at_once(huge, 4096) == 1
