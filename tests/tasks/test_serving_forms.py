"""One reading at the door and at serving: the same value, in whatever form it comes.

A schema is drawn, and rows; they are written as CSV, Parquet and JSON lines, with types of several
widths and as text. Every form gives the same experience, the same side of each row, and the same
prediction of the served version: from a frame, and over HTTP in MLflow's forms of a request.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from perdure.errors import DataRefused
from perdure.strategies.features.encoding import encode
from perdure.strategies.features.modules import Network, Output, Prepare
from perdure.tasks import packaging, serving, training
from perdure.tasks.tables import check, content, read, splitting
from perdure.tasks.tables import schema as schemas
from tests.tasks.version_kit import evaluation

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own use of pandas

SCHEMA = """\
extra_columns = "ignore"
[target]
name = "y"
task = "classification"
classes = ["no", "yes"]
[columns.n]
kind = "number"
nullable = true
min = -1000.0
[columns.whole]
kind = "number"
[columns.price]
kind = "number"
decimal = ","
grouping = "."
unit = "€"
missing = ["?"]
nullable = true
[columns.site]
kind = "category"
categories = ["1", "007", "NA", "Oslo", "2.5"]
[columns.flag]
kind = "category"
unseen = "refuse"
categories = ["False", "True"]
[columns.city]
kind = "category"
nullable = true
buckets = 16
[columns.when]
kind = "time"
zone = "Europe/Berlin"
nullable = true
"""
Row = dict[str, Any]


def rows() -> st.SearchStrategy[list[Row]]:
    """Rows as Python has them: None is missing."""
    numbers = st.floats(-999, 999, width=32).map(lambda v: float(str(np.float32(v))))
    moment = st.datetimes(
        pd.Timestamp("1950-01-01").to_pydatetime(), pd.Timestamp("2100-01-01").to_pydatetime()
    ).map(lambda t: t.replace(microsecond=0, second=0))
    return st.lists(
        st.fixed_dictionaries(
            {
                "n": st.none() | numbers,
                "whole": st.integers(-(2**20), 2**20),
                "price": st.none() | st.integers(-(10**8), 10**8).map(lambda cents: cents / 100),
                "site": st.sampled_from(["1", "007", "NA", "Oslo", "2.5", "Rome"]),
                "flag": st.booleans(),
                "city": st.none() | st.sampled_from(["Bonn", "Kiel", "São Paulo"]),
                "when": st.none() | moment,
                "y": st.sampled_from(["no", "yes"]),
            }
        ),
        min_size=1,
        max_size=12,
    )


def euros(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,")) + " €"


def as_text(given: list[Row], truth: tuple[str, str]) -> pd.DataFrame:
    """As a CSV file has them: text, '' for missing."""
    return pd.DataFrame(
        [
            {
                **row,
                "n": "" if row["n"] is None else str(np.float32(row["n"])),
                "whole": str(row["whole"]),
                "price": euros(row["price"]),
                "flag": truth[row["flag"]],
                "city": row["city"] or "",
                "when": "" if row["when"] is None else row["when"].isoformat(" "),
            }
            for row in given
        ],
        dtype=object,
    )


def as_types(given: list[Row], width: str) -> pd.DataFrame:
    """With types: floats of a width, whole numbers, truth values, times."""
    frame = pd.DataFrame(given)
    return frame.assign(
        n=frame["n"].astype("float64").astype(pd.api.types.pandas_dtype(width)),
        price=frame["price"].astype("float64"),
        city=frame["city"].astype(object),
        when=pd.to_datetime(frame["when"]).astype("datetime64[us]"),
    )


def forms(given: list[Row], folder: Path) -> Iterator[tuple[str, Path]]:
    """The same rows as files."""
    for name, frame in (
        ("text.csv", as_text(given, ("false", "TRUE"))),
        ("spelled.csv", as_text(given, ("no", "1"))),
    ):
        frame.to_csv(folder / name, index=False)
        yield name, folder / name
    for width in ("float32", "float64", "Float64"):
        path = folder / f"{width}.parquet"
        as_types(given, width).to_parquet(path, index=False)
        yield path.name, path
    berlin = as_types(given, "float64")
    berlin["when"] = (
        berlin["when"].dt.tz_localize("Europe/Berlin", ambiguous=True, nonexistent="NaT")
    ).dt.tz_convert("UTC")
    if berlin["when"].isna().sum() == sum(row["when"] is None for row in given):
        path = folder / "zone.parquet"
        berlin.to_parquet(path, index=False)
        yield path.name, path
    path = folder / "lines.jsonl"
    lines = [json.dumps({**row, "when": row["when"] and row["when"].isoformat()}) for row in given]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    yield path.name, path


@pytest.fixture(scope="module")
def schema() -> schemas.Schema:
    return schemas.parse(SCHEMA)


@pytest.fixture(scope="module")
def model(schema: schemas.Schema, tmp_path_factory: pytest.TempPathFactory) -> serving.Model:
    """A version whose predictions differ from row to row."""
    folder = tmp_path_factory.mktemp("forms") / "version"
    (folder / "learner").mkdir(parents=True)
    (folder / "learner" / "learner.json").write_text("{}")
    rng = np.random.default_rng(0)
    given = [
        {
            "n": float(rng.normal()), "whole": int(rng.integers(9)), "price": float(rng.normal()),
            "site": "1", "flag": bool(rng.integers(2)), "city": "Bonn",
            "when": pd.Timestamp("2024-01-01").to_pydatetime(), "y": "no",
        }
        for _ in range(60)
    ]  # fmt: skip
    spec = schema.feature_spec()
    accepted = check.check(as_types(given, "float64"), schema).accepted
    torch.manual_seed(0)
    raw = encode(spec, training.columns_of(spec, accepted))
    prepare = Prepare(spec)
    prepare.fit(raw)
    width = Network.inputs(spec)
    assert isinstance(width, int)
    body = nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, 2))
    network = Network(spec, body)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    module = nn.Sequential(prepare, network, Output(spec.task)).eval()
    rules = schemas.rules_of_features(schema)
    packaging.assemble(folder, spec, module, accepted, evaluation(), rules)
    return serving.Model(folder)


PROBABILITIES = {"probabilities": True}


@given(rows())
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_form_is_one_experience_and_one_prediction(
    schema: schemas.Schema,
    model: serving.Model,
    tmp_path_factory: pytest.TempPathFactory,
    given: list[Row],
) -> None:
    folder = tmp_path_factory.mktemp("files")
    spec = schema.feature_spec()
    found: dict[str, tuple[str, list[str], list[list[float]]]] = {}
    for name, path in forms(given, folder):
        frame = read.read(path, schema).frame
        checked = check.check(frame, schema)
        assert not len(checked.refused), (name, checked.summary)
        accepted = checked.accepted
        keys = splitting.keys(accepted, spec.columns)
        predicted = model.predict(frame, PROBABILITIES)
        assert isinstance(predicted, pd.DataFrame)
        found[name] = (
            content.content_sha256(accepted),
            splitting.splits(keys, 0.2, 0.1).tolist(),
            predicted.to_numpy().tolist(),
        )
    first = found["text.csv"]
    for name, one in found.items():
        assert one == first, name
    # What ingest has accepted is what the network was given.
    raw = encode(spec, training.columns_of(spec, accepted))
    assert torch.equal(model._graph(raw), torch.tensor(first[2], dtype=torch.float32))
    over_http(model, given, first[2])


class Served:
    """What MLflow's scoring server asks of a loaded model."""

    def __init__(self, model: serving.Model) -> None:
        self.model = model
        self.metadata = self

    def predict(self, data: Any, params: Any = None) -> Any:
        return self.model.predict(data, PROBABILITIES | (params or {}))

    def get_params_schema(self) -> None:
        return None


def answer(model: serving.Model, data: str | bytes, kind: str) -> list[list[float]]:
    """What `/invocations` answers, without the socket."""
    from mlflow.pyfunc import scoring_server

    ask: Any = scoring_server.invocations
    response = ask(data, kind, Served(model), None)
    assert response.status == 200, response.response
    predictions = json.loads(response.response)["predictions"]
    return [[row["no"], row["yes"]] for row in predictions]


def over_http(model: serving.Model, given: list[Row], expected: list[list[float]]) -> None:
    """Every form of MLflow's scoring protocol gives the same."""
    text = as_text(given, ("False", "True")).drop(columns="y")
    records = [{**row, "when": row["when"] and row["when"].isoformat()} for row in given]
    columns = list(records[0])
    split = {"columns": columns, "data": [[row[name] for name in columns] for row in records]}
    by_column = {name: [row[name] for row in records] for name in columns}
    bodies: list[dict[str, Any]] = [
        {"dataframe_split": split},
        {"dataframe_records": records},
        {"dataframe_records": text.to_dict(orient="records")},
        {"instances": records},
        {"inputs": by_column},
    ]
    for body in bodies:
        found = answer(model, json.dumps(body), "application/json")
        np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=str(list(body)))
    parquet = io.BytesIO()
    as_types(given, "float32").to_parquet(parquet, index=False)
    found = answer(model, parquet.getvalue(), "application/vnd.apache.parquet")
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # pandas reads `NA` in a CSV as missing, and the schema lets no site be missing: see below.
    if all(row["site"] != "NA" for row in given):
        found = answer(model, text.to_csv(index=False), "text/csv")
        np.testing.assert_allclose(found, expected, rtol=1e-6)


GOOD: Row = {
    "n": 1.0, "whole": 1, "price": 2.0, "site": "1", "flag": True, "city": "Bonn",
    "when": pd.Timestamp("2024-01-01").to_pydatetime(), "y": "no",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"n": "much"}, "n = 'much' is not a number"),
        ({"n": "inf"}, "n = inf is not finite"),
        ({"n": "-1001.5"}, "n = -1001.5 is below the minimum -1000"),
        ({"whole": ""}, "whole is missing"),
        ({"price": "1.5"}, "price = 1.5 is not a number"),
        ({"site": ""}, "site is missing"),
        ({"flag": "perhaps"}, "flag = 'perhaps' is not one of 'False', 'True'"),
        ({"when": "soon"}, "when = 'soon' is not a date or a time such as 2026-11-28 or "
                           "2026-11-28 18:05"),
    ],
)  # fmt: skip
def test_what_ingest_refuses_serving_refuses_with_the_same_sentence(
    schema: schemas.Schema, model: serving.Model, change: Row, reason: str
) -> None:
    frame = as_text([GOOD, GOOD, GOOD], ("false", "true"))
    for name, value in change.items():
        frame.loc[1, name] = value
    frame.index = pd.RangeIndex(1, 4, name="row")
    refused = check.check(frame, schema).refused
    assert refused["reason"].tolist() == [reason]
    with pytest.raises(DataRefused) as error:
        model.predict(frame)
    assert error.value.message == f"row 2: {reason}"
    with pytest.raises(Exception, match="Failed to predict") as over:
        answer(model, frame.drop(columns="y").to_csv(index=False), "text/csv")
    assert reason in str(over.value)
    assert getattr(over.value, "get_http_status_code", int)() == 400


def test_several_refused_rows_are_counted(model: serving.Model) -> None:
    frame = as_text([GOOD] * 4, ("false", "true")).assign(whole=["x", "1", "", "y"])
    with pytest.raises(DataRefused, match=r"row 1: whole = 'x' is not a number \(and 2 more rows"):
        model.predict(frame)


def test_a_csv_in_which_pandas_reads_a_word_as_missing_is_refused(model: serving.Model) -> None:
    text = as_text([{**GOOD, "site": "NA"}], ("false", "true")).to_csv(index=False)
    with pytest.raises(Exception, match="site is missing"):
        answer(model, text, "text/csv")
