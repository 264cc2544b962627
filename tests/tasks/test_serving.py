"""What MLflow serves: raw columns in, the user's own labels or values out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from perdure.errors import Corrupt, DataRefused
from perdure.strategies.features.columns import FeatureSpec
from perdure.strategies.features.encoding import encode
from perdure.tasks import serving
from perdure.tasks.registry import Registry
from tests.tasks.version_kit import (
    SPEC,
    columns,
    frame,
    free_port,
    module,
    register,
    version_folder,
    workspace,
)

# MLflow's own use of pandas warns.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    root = tmp_path_factory.mktemp("serving")
    registry = Registry(workspace(root))
    version = register(registry, version_folder(root / "version"))
    registry.client.call(
        "set_registered_model_alias", registry.name, "champion", str(version.version)
    )
    return registry


@pytest.fixture(scope="module")
def served(registry: Registry) -> Any:
    import mlflow

    with registry.client.current():
        return mlflow.pyfunc.load_model("models:/weather@champion")


def expected(rows: pd.DataFrame) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        probabilities: np.ndarray[Any, Any] = module()(encode(SPEC, columns(rows))).numpy()
    return probabilities


@pytest.mark.parametrize("rows", [1, 2, 32, 1000])
def test_any_number_of_rows(served: Any, rows: int) -> None:
    data = frame(rows, seed=rows)
    labels = np.array(SPEC.labels, dtype=object)[expected(data).argmax(axis=1)]
    predicted = served.predict(data[["height", "weight", "town"]])
    assert predicted.tolist() == labels.tolist()
    assert isinstance(predicted[0], str)


def test_probabilities_on_request(served: Any) -> None:
    data = frame(32)
    found = served.predict(data, params={"probabilities": True})
    assert list(found.columns) == ["no", "yes"]
    np.testing.assert_array_equal(found.to_numpy(), expected(data).astype(np.float64))
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-6)


def test_both_labels_occur(served: Any) -> None:
    """Or the tests above could not tell labels apart."""
    assert set(served.predict(frame(200))) == {"no", "yes"}


def test_whole_numbers_are_numbers(served: Any) -> None:
    whole = pd.DataFrame({"height": [1, 7, -3], "weight": [2, 0, 5], "town": "Oslo"})
    exact = whole.astype({"height": float, "weight": float})
    parameters = {"probabilities": True}
    pd.testing.assert_frame_equal(
        served.predict(whole, params=parameters), served.predict(exact, params=parameters)
    )


def probabilities(served: Any, **row: Any) -> list[float]:
    data = pd.DataFrame([{"height": 1.0, "weight": 2.0, "town": "Oslo", **row}])
    found: list[float] = served.predict(data, params={"probabilities": True}).iloc[0].tolist()
    return found


def test_missing_and_unseen_values_have_their_treatment(served: Any) -> None:
    usual = probabilities(served)
    missing = probabilities(served, height=None)
    assert missing == probabilities(served, height=float("nan"))
    gone, unseen = probabilities(served, town=None), probabilities(served, town="Paris")
    assert gone == probabilities(served, town=float("nan"))
    assert unseen == probabilities(served, town="Rome")
    assert len({tuple(row) for row in (usual, missing, gone, unseen)}) == 4


def test_a_category_that_looks_like_a_number(served: Any) -> None:
    """As pandas reads it from a CSV file: whole, or with a missing one beside it, 17.0."""
    text = probabilities(served, town="17")
    assert probabilities(served, town=17) == text
    assert probabilities(served, town=17.0) == text
    assert text != probabilities(served, town="18")


def test_columns_in_any_order_and_more_of_them(served: Any) -> None:
    data = frame(5)
    assert (
        served.predict(data[["town", "weight", "height"]].assign(other=1)).tolist()
        == served.predict(data).tolist()
    )


def test_a_missing_column_is_told(served: Any) -> None:
    with pytest.raises(DataRefused, match="missing column: weight"):
        served.predict(frame(3).drop(columns="weight"))


def test_a_wrong_value_is_told(served: Any) -> None:
    data = frame(3).astype({"height": object})
    data.loc[1, "height"] = "tall"
    with pytest.raises(DataRefused, match="row 2: height = 'tall' is not a number"):
        served.predict(data)


def test_no_rows_no_predictions(registry: Registry) -> None:
    model = serving.Model(registry.download(registry.version(1)))
    assert model.predict(frame(3).iloc[:0]).shape == (0,)
    assert model.predict(frame(3).iloc[:0], {"probabilities": True}).shape == (0, 2)


@pytest.mark.parametrize(
    ("labels", "kind"), [((0, 1), np.integer), ((False, True), np.bool_), (("a", "b"), str)]
)
def test_labels_keep_their_type(tmp_path: Path, labels: tuple[Any, ...], kind: type) -> None:
    folder = version_folder(tmp_path / "version", replace(SPEC, labels=labels))
    predicted = serving._load_pyfunc(str(folder)).predict(frame(100))
    assert set(predicted) == set(labels)
    assert isinstance(predicted[0], kind)


def test_a_regression_gives_values(tmp_path: Path) -> None:
    spec = FeatureSpec(SPEC.columns, "kind", "regression")
    model = serving.Model(version_folder(tmp_path / "version", spec))
    predicted = model.predict(frame(40))
    assert predicted.shape == (40,)
    assert predicted.dtype == np.float64
    with pytest.raises(DataRefused, match="probabilities were asked of a regression"):
        model.predict(frame(2), {"probabilities": True})


def test_a_changed_file_is_not_served(tmp_path: Path) -> None:
    folder = version_folder(tmp_path / "version")
    text = (folder / "serving.json").read_text()
    (folder / "serving.json").write_text(text.replace("yes", "no!"))
    with pytest.raises(Corrupt, match=r"serving\.json was changed"):
        serving.Model(folder)


def test_nothing_pickled_and_no_code_is_registered(registry: Registry) -> None:
    model = registry.download(registry.version(1)).parents[1]
    files = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    suffixes = {Path(name).suffix for name in files if name != "registered_model_meta"}
    assert {"MLmodel", "requirements.txt", "input_example.json"} <= files
    assert suffixes == {"", ".json", ".parquet", ".pt2", ".txt", ".yaml"}
    requirements = (model / "requirements.txt").read_text().splitlines()
    assert {line.partition("==")[0] for line in requirements} == {
        "mlflow",
        "numpy",
        "pandas",
        "perdure",
        "torch",
    }
    assert all("==" in line and "+" not in line for line in requirements)


def test_the_metadata_names_the_columns(served: Any) -> None:
    """The signature does not: see `perdure.tasks.registry.pyfunc`."""
    signature = served.metadata.signature
    assert signature.inputs is None
    assert signature.params.to_dict()[0]["name"] == "probabilities"
    assert served.metadata.metadata["features"] == SPEC.to_json()


def test_over_http(registry: Registry, tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "serve.log"
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": registry.client.uri,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/weather@champion"]
    command += ["--env-manager", "local", "-h", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            _wait(f"http://127.0.0.1:{port}/ping", server, log)
            data = frame(32)[["height", "weight", "town"]]
            split = json.loads(data.to_json(orient="split", index=False))
            split.pop("index", None)
            url = f"http://127.0.0.1:{port}/invocations"
            plain = _post(url, {"dataframe_split": split})
            labels = np.array(SPEC.labels, dtype=object)[expected(frame(32)).argmax(axis=1)]
            assert plain["predictions"] == labels.tolist()
            asked = _post(url, {"dataframe_split": split, "params": {"probabilities": True}})
            found = pd.DataFrame(asked["predictions"])[["no", "yes"]].to_numpy()
            np.testing.assert_allclose(found, expected(frame(32)), rtol=1e-6)
            with pytest.raises(urllib.error.HTTPError) as refused:
                _post(url, {"dataframe_records": [{"height": 1}]})
            assert refused.value.code == 400
            assert "missing columns: weight, town" in refused.value.read().decode()
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=30)


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(log.read_text())


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
