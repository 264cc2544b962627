"""Features: codes, statistics, and what becomes of missing, unseen and absurd values."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn
from torch import nn

from perdure.errors import DataRefused
from perdure.strategies.features.columns import Column, FeatureSpec
from perdure.strategies.features.encoding import encode, encode_target
from perdure.strategies.features.modules import Network, Output, Prepare, statistics
from tests.strategies.small import spec_of

NUMBER = FeatureSpec((Column("a", "number"),), "y", "classification", (0, 1))


def test_codes_are_missing_unseen_and_the_place_in_the_vocabulary() -> None:
    columns = {
        "a": np.array([1.5, np.nan, -2.0, 0.0, 1.0]),
        "b": np.array([1, 2, 3, 4, 5]),
        "colour": np.array(["green", None, "blue", float("nan"), "red"], dtype=object),
        "extra": np.zeros(5),
    }
    found = encode(spec_of(), columns)
    assert found.dtype == torch.float64
    expected = [[1.5, 3, 1], [np.nan, 0, 2], [-2, 1, 3], [0, 0, 4], [1, 2, 5]]
    np.testing.assert_array_equal(found.numpy(), np.array(expected))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataRefused, match="missing columns: colour, b"):
        encode(spec_of(), {"a": np.zeros(2)})
    good: dict[str, Any] = {"a": np.zeros(2), "b": np.zeros(2), "colour": np.array(["red", "red"])}
    with pytest.raises(DataRefused, match="column b is not all numbers"):
        encode(spec_of(), good | {"b": np.array(["1", "x"], dtype=object)})
    with pytest.raises(DataRefused, match="different lengths"):
        encode(spec_of(), good | {"b": np.zeros(3)})


@pytest.mark.parametrize("labels", [("no", "yes"), (3, 7), (False, True)])
def test_labels_keep_their_type_through_json(labels: tuple[Any, ...]) -> None:
    spec = FeatureSpec((Column("c", "category", ("x",)),), "y", "classification", labels)
    again = FeatureSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert [type(label) for label in again.labels] == [type(label) for label in labels]
    codes = encode_target(spec, np.array([labels[1], labels[0], labels[1]]))
    assert codes.dtype == torch.int64
    assert codes.tolist() == [1, 0, 1]


def test_a_target_that_is_no_label_or_no_number_is_refused() -> None:
    with pytest.raises(DataRefused, match=r"y = 'maybe' in row 1 is no label; known: 'no', 'yes'"):
        encode_target(spec_of(), np.array(["no", "maybe"], dtype=object))
    with pytest.raises(DataRefused, match="in row 0 is no label"):
        encode_target(spec_of(), np.array([None, "no"], dtype=object))
    with pytest.raises(DataRefused, match="y is nan in row 2"):
        encode_target(spec_of("regression"), np.array([1.0, 2.0, np.nan]))
    with pytest.raises(DataRefused, match="not all numbers"):
        encode_target(spec_of("regression"), np.array(["x"]))


def test_prepared_columns_are_standardised_with_the_statistics_of_the_first_rows() -> None:
    prepare = Prepare(spec_of())
    first = encode(spec_of(), {
        "a": np.array([1.0, 3.0, np.nan]), "b": np.array([5.0, 5.0, 5.0]),
        "colour": np.array(["red", None, "blue"], dtype=object),
    })  # fmt: skip
    prepare.fit(first)
    found = prepare(first)
    assert found.dtype == torch.float32
    # a: mean 2, scale 1; b: constant, so 0. Then the missing marks, then the code.
    expected = [[-1, 0, 0, 0, 2], [1, 0, 0, 0, 0], [0, 0, 1, 0, 1]]
    assert found.tolist() == expected
    later = torch.tensor([[1e9, 1.0, -np.inf], [3.5, 2.0, np.nan]], dtype=torch.float64)
    assert prepare(later).tolist() == [[10, 0, 0, 0, 1], [1.5, 0, 0, 1, 2]]


def test_a_constant_column_waits_until_it_varies() -> None:
    columns = ("was constant", "was zero", "was missing")
    spec = FeatureSpec(tuple(Column(n, "number") for n in columns), "y", "classification", (0, 1))
    prepare = Prepare(spec)
    nan, inf = np.nan, np.inf
    first = torch.tensor([[7.0, 0.0, nan], [7.0, 0.0, nan]], dtype=torch.float64)
    prepare.fit(first)
    kept = prepare(first)
    assert kept[:, :3].tolist() == [[0, 0, 0], [0, 0, 0]]
    odd = torch.tensor([[9.0, inf, 1e9], [-inf, 3.0, 5.0]], dtype=torch.float64)
    assert prepare(odd)[:, :3].tolist() == [[0, 0, 0], [0, 0, 0]], "it is not known how far is far"
    prepare.fit_constant(first)
    assert torch.equal(prepare(odd)[:, :3], torch.zeros(2, 3)), "nothing has varied yet"
    varied = torch.tensor([[11.0, 2.0, 100.0], [3.0, -2.0, 104.0]], dtype=torch.float64)
    prepare.fit_constant(varied)
    assert prepare(varied)[:, :3].tolist() == [[1, 1, -1], [-1, -1, 1]]
    assert torch.equal(prepare(first), kept), "what a memory keeps still means the same"
    again = copy.deepcopy(prepare)
    again.fit_constant(varied * 100)
    assert all(torch.equal(a, b) for a, b in zip(again.buffers(), prepare.buffers(), strict=True))


@settings(max_examples=200, deadline=None)
@given(
    hn.arrays(np.float64, hn.array_shapes(max_dims=1, max_side=20), elements=st.floats(width=64))
)
def test_whatever_the_numbers_the_network_sees_finite_ones(values: Any) -> None:
    prepare = Prepare(NUMBER)
    prepare.fit(encode(NUMBER, {"a": values}))
    found = prepare(encode(NUMBER, {"a": values}))
    assert torch.isfinite(found).all()
    assert found[:, 0].abs().max() <= 10
    assert found[:, 1].tolist() == np.isnan(values).astype(float).tolist()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30), st.floats(0.01, 100))
def test_statistics_move_and_stretch_with_the_numbers(numbers: list[float], factor: float) -> None:
    values = np.array(numbers)
    mean, scale = statistics(values)
    assert mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-6)
    if values.std() > 1e-3:
        assert scale == pytest.approx(values.std(), rel=1e-6)
        assert statistics(values * factor)[1] == pytest.approx(scale * factor, rel=1e-6)
    else:
        assert scale > 0


@pytest.mark.parametrize("values", [[], [np.nan, np.nan], [0.0], [np.inf]])
def test_statistics_of_nothing_are_those_of_the_identity(values: list[float]) -> None:
    assert statistics(np.array(values)) == (0.0, 1.0)


def test_statistics_of_the_largest_numbers_do_not_overflow() -> None:
    mean, scale = statistics(np.array([1.7e308, -1.7e308]))
    assert mean == 0.0
    assert scale == pytest.approx(1.7e308)


def test_a_missing_category_has_a_trained_vector_and_an_unseen_one_stays_zero() -> None:
    spec = FeatureSpec((Column("c", "category", ("x", "y")),), "y", "regression")
    torch.manual_seed(0)
    network = Network(spec, nn.Linear(_width(spec), 1))
    embedding = network.embeddings[0]
    assert isinstance(embedding, nn.Embedding)
    before = embedding.weight.detach().clone()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.tensor([[0.0], [1.0], [2.0]])).square().sum().backward()
        optimizer.step()
    assert torch.equal(embedding.weight[1], torch.zeros_like(before[1]))
    assert not torch.equal(embedding.weight[0], before[0])
    assert not torch.equal(embedding.weight[2], before[2])


def test_regression_output_is_in_the_unit_of_the_target() -> None:
    output = Output("regression")
    target = torch.tensor([10.0, 30.0], dtype=torch.float64)
    output.fit(target)
    standard = output.standardise(target)
    assert standard.tolist() == [[-1.0], [1.0]]
    assert output(standard).tolist() == pytest.approx([10.0, 30.0])


def test_classification_output_is_probabilities() -> None:
    found = Output("classification")(torch.tensor([[0.0, 0.0], [1.0, -1.0]]))
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2))
    assert found[0].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("kind", ["number", "category"])
def test_columns_of_one_kind_alone_are_enough(kind: Any) -> None:
    spec = FeatureSpec(
        (Column("c", kind, ("x",) if kind == "category" else ()),), "y", "regression"
    )
    values = np.array(["x", None], dtype=object) if kind == "category" else np.array([1.0, np.nan])
    prepare = Prepare(spec)
    raw = encode(spec, {"c": values})
    prepare.fit(raw)
    network = Network(spec, nn.Linear(_width(spec), 1))
    assert network(prepare(raw)).shape == (2, 1)


def _width(spec: FeatureSpec) -> int:
    """Of a table: what a body gets of a row."""
    width = Network.inputs(spec)
    assert isinstance(width, int)
    return width
