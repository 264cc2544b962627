"""Images, texts and sequences from the registry: what MLflow serves says what the learner says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from perdure.errors import DataRefused
from perdure.strategies.export import graph
from perdure.strategies.features.columns import Column, FeatureSpec
from perdure.strategies.features.encoding import encode
from perdure.strategies.features.modules import Network, Output, Prepare
from perdure.tasks import packaging
from perdure.tasks.registry import Registry
from tests.tasks.picture_kit import png
from tests.tasks.version_kit import evaluation, register, workspace

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own use of pandas warns

COLUMNS = {
    "grey": Column("picture", "image", shape=(6, 5, 1)),
    "colour": Column("picture", "image", shape=(6, 5, 3)),
    "text": Column("review", "text", length=6, vocabulary=40, width=5),
    "sequence": Column("series", "sequence", length=5),
}
LABELS = ("low", "high")


def spec_of(kind: str) -> FeatureSpec:
    return FeatureSpec((COLUMNS[kind],), "kind", "classification", LABELS)


def values(kind: str, rows: int, seed: int = 0) -> Any:
    """As an experience keeps them."""
    rng, column = np.random.default_rng(seed), COLUMNS[kind]
    out = np.empty(rows, dtype=object)
    for row in range(rows):
        if column.kind == "image":
            out[row] = rng.integers(0, 256, column.shape, dtype=np.uint8).tobytes()
        elif column.kind == "text":
            out[row] = " ".join(rng.choice(list("abcdefgh"), rng.integers(1, 9)))
        else:
            out[row] = rng.normal(size=rng.integers(1, 8))
    return out


def frame(kind: str, rows: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            COLUMNS[kind].name: pd.Series(values(kind, rows), dtype=object),
            "kind": pd.Series([LABELS[n % 2] for n in range(rows)], dtype=object),
            "_experience": "000001-aaaaaaaa",
            "_key": np.arange(rows, dtype=np.uint64),
        }
    )


class Body(nn.Module):
    """A layer over everything, so that every value and place counts."""

    def __init__(self, inputs: Any, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(int(np.prod(inputs)), outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(x.flatten(1))
        return found


def module(kind: str) -> nn.Module:
    torch.manual_seed(3)
    spec = spec_of(kind)
    prepare, network = Prepare(spec), Network(spec, Body(Network.inputs(spec), spec.outputs))
    raw = encode(spec, {COLUMNS[kind].name: values(kind, 60)})
    prepare.fit(raw)
    network.fit(prepare(raw))
    return nn.Sequential(prepare, network, Output("classification")).eval()


def expected(kind: str, given: Any) -> Any:
    with torch.no_grad():
        found = module(kind)(encode(spec_of(kind), {COLUMNS[kind].name: given}))
    return np.array(LABELS, dtype=object)[found.numpy().argmax(axis=1)].tolist()


@pytest.fixture(scope="module", params=list(COLUMNS))
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The kind, the model as MLflow loads it from a registered version, and the folder of it."""
    import mlflow

    kind: str = request.param
    root: Path = tmp_path_factory.mktemp(kind)
    registry, folder = Registry(workspace(root)), root / "version"
    (folder / "learner").mkdir(parents=True)
    (folder / "learner" / "learner.json").write_text("{}")
    packaging.assemble(folder, spec_of(kind), module(kind), frame(kind, 60), evaluation())
    version = register(registry, folder)
    with registry.client.current():
        return kind, mlflow.pyfunc.load_model(f"models:/weather/{version.version}"), folder


def arrays(kind: str, given: Any) -> Any:
    """Images as numpy has them: grey ones without a channel."""
    shape = COLUMNS[kind].shape
    found = np.stack([np.frombuffer(one, dtype=np.uint8).reshape(shape) for one in given])
    return found[:, :, :, 0] if shape[2] == 1 else found


@pytest.mark.parametrize("rows", [1, 2, 33])
def test_what_is_served_is_what_the_learner_says(served: Any, rows: int) -> None:
    kind, model, _ = served
    given = values(kind, rows, seed=rows)
    asked = arrays(kind, given) if COLUMNS[kind].kind == "image" else None
    frame_ = pd.DataFrame({COLUMNS[kind].name: pd.Series(given, dtype=object), "more": 1})
    found = model.predict(frame_ if asked is None else asked)
    assert found.tolist() == expected(kind, given)


def test_both_labels_occur(served: Any) -> None:
    """Or the tests here could not tell labels apart."""
    kind, _, _ = served
    assert set(expected(kind, values(kind, 100, seed=1))) == set(LABELS)


def test_probabilities_on_request(served: Any) -> None:
    kind, model, _ = served
    given = values(kind, 9, seed=4)
    asked: Any = pd.DataFrame({COLUMNS[kind].name: pd.Series(given, dtype=object)})
    if COLUMNS[kind].kind == "image":
        asked = arrays(kind, given)
    found = model.predict(asked, params={"probabilities": True})
    assert list(found.columns) == list(LABELS)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-6)
    assert found.idxmax(axis=1).tolist() == expected(kind, given)


def test_signature_and_example_are_in_the_registry(served: Any) -> None:
    kind, model, folder = served
    column = COLUMNS[kind]
    if column.kind == "image":
        (entry,) = model.metadata.signature.inputs.to_dict()
        assert entry["name"] == column.name
        shape = column.shape[:2] if column.shape[2] == 1 else column.shape
        assert entry["tensor-spec"] == {"dtype": "uint8", "shape": (-1, *shape)}
        assert model.input_example[column.name].shape == (3, *shape)
    else:
        assert model.metadata.signature.inputs is None
        assert list(model.input_example.columns) == [column.name]
        assert len(model.input_example) == 3
    labels = expected(kind, values(kind, 60)[:3])
    assert model.predict(model.input_example).tolist() == labels
    features = json.loads((folder / "serving.json").read_bytes())["features"]
    assert FeatureSpec.from_json(features) == spec_of(kind)


def test_the_evaluation_rows_come_back_as_they_were(served: Any) -> None:
    kind, _, folder = served
    name = COLUMNS[kind].name
    rows = packaging.rows_in(folder)
    raw = encode(spec_of(kind), {name: rows[name].to_numpy(dtype=object)})
    was = encode(spec_of(kind), {name: values(kind, 60)})
    torch.testing.assert_close(raw, was, rtol=0, atol=0, equal_nan=True)
    assert graph.load(folder / "model.pt2")(raw).shape == (60, 2)


IMAGES = [kind for kind in COLUMNS if COLUMNS[kind].kind == "image"]


@pytest.mark.parametrize("served", IMAGES, indirect=True)
def test_images_may_come_as_arrays_or_files_in_a_frame(served: Any) -> None:
    kind, model, _ = served
    given = values(kind, 5, seed=8)
    pictures, labels = arrays(kind, given), expected(kind, given)
    in_frame = pd.DataFrame({"picture": list(pictures)})
    assert model.predict(in_frame).tolist() == labels
    assert model.predict({"picture": pictures}).tolist() == labels
    raw = model.get_raw_model()
    files = pd.DataFrame({"picture": [png(one) for one in pictures]}, index=list("abcde"))
    for asked in (in_frame, files, pd.DataFrame({"picture": given}), pictures):
        assert raw.predict(asked).tolist() == labels
    assert raw.predict(pictures.reshape(5, *COLUMNS[kind].shape)).tolist() == labels
    assert (
        raw.predict(pd.DataFrame({"picture": [one.tolist() for one in pictures]})).tolist()
        == labels
    )
    assert raw.predict(files, {"probabilities": True}).index.tolist() == list("abcde")


@pytest.mark.parametrize("served", IMAGES, indirect=True)
def test_images_of_another_size_are_stretched_as_at_the_door(served: Any) -> None:
    from perdure.strategies.features import images

    kind, model, _ = served
    large = np.random.default_rng(0).integers(0, 256, (4, 12, 9, 3), dtype=np.uint8)
    stretched = np.array([images.fit(one, COLUMNS[kind].shape) for one in large], dtype=object)
    assert model.get_raw_model().predict(large).tolist() == expected(kind, stretched)


@pytest.mark.parametrize("served", IMAGES, indirect=True)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (pd.DataFrame({"picture": [b"no image"]}), "the image in row 0 is no image"),
        (pd.DataFrame({"picture": [None]}), "the image in row 0 is object"),
        (pd.DataFrame({"picture": [[[300, 1]]]}), "the image in row 0 is int64"),
        (pd.DataFrame({"else": [1]}), "missing column: picture"),
        (np.zeros((2, 6, 5)), "images are float64"),
        (np.zeros((2, 6, 5, 7), np.uint8), "has 7 channels"),
    ],
)
def test_what_is_no_image_is_refused(served: Any, wrong: Any, message: str) -> None:
    with pytest.raises(DataRefused, match=message):
        served[1].get_raw_model().predict(wrong)


@pytest.mark.parametrize("served", ["text"], indirect=True)
def test_texts_may_be_missing_and_are_read_as_ingest_reads_them(served: Any) -> None:
    _, model, _ = served
    missing = model.predict(pd.DataFrame({"review": [None, float("nan"), "", "  "]}))
    assert len(set(missing.tolist())) == 1
    number, text = (
        pd.DataFrame({"review": pd.Series([one], dtype=object)}) for one in (3.0, "3.0")
    )
    asked = {"probabilities": True}
    pd.testing.assert_frame_equal(model.predict(number, asked), model.predict(text, asked))
    with pytest.raises(DataRefused, match="an array was given"):
        model.get_raw_model().predict(np.zeros((2, 2)))


@pytest.mark.parametrize("served", ["sequence"], indirect=True)
def test_sequences_may_be_lists_arrays_or_text(served: Any) -> None:
    kind, model, _ = served
    given = values(kind, 12, seed=2)
    for form in (list, np.asarray, lambda one: " ".join(map(repr, one.tolist()))):
        asked = pd.DataFrame({"series": pd.Series([form(one) for one in given], dtype=object)})
        assert model.predict(asked).tolist() == expected(kind, given)
    with pytest.raises(DataRefused, match="column series, row 0: item 2 is 'x', no number"):
        model.predict(pd.DataFrame({"series": [[1.0, "x"]]}))
