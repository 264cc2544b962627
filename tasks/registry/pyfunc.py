"""A version folder as an MLflow pyfunc: raw columns in, the user's labels or values out.

The signature names no columns: MLflow's typed columns refuse what tables hold every day (`double`
refuses whole numbers, `string` a column that is all missing), and columns of any type make its
server refuse CSV. What a column must hold is checked in `perdure.tasks.serving`, for each value, as
`perdure ingest` checks it; the kinds stand in the model's metadata, where MLflow's page shows them.
Images are a tensor of uint8.
"""

from __future__ import annotations

import json
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import perdure
from perdure.reading import values
from perdure.strategies.features.columns import Column, FeatureSpec
from perdure.tasks.registry import package
from perdure.tasks.registry.client import Client

REQUIRED = ("mlflow", "numpy", "pandas", "torch")
EXAMPLES = 3
EXAMPLE_VALUES = 100_000
"""Pixels and their channels in the example, if there are to be several images."""


def log(client: Client, run_id: str, folder: Path, tags: dict[str, str]) -> tuple[str, str]:
    """Log a version folder as the model of a run.

    Args:
        client: The connection.
        run_id: The learning run.
        folder: A version folder.
        tags: Of the logged model.

    Returns:
        The logged model's id, and the address of its artifacts.
    """
    spec = _spec(folder)
    with client.current():
        import mlflow

        # MLflow's own type hints and its use of pandas warn each time; users cannot change that.
        with (
            warnings.catch_warnings(action="ignore"),
            mlflow.start_run(run_id=run_id, nested=True),
        ):
            info = mlflow.pyfunc.log_model(
                name="model",
                loader_module=package.LOADER,
                data_path=str(folder),
                pip_requirements=requirements(),
                signature=signature(spec),
                input_example=example(spec, folder),
                metadata={"features": spec.to_json()},
                tags=tags,
            )
    return str(info.model_id), str(info.artifact_path)


def requirements() -> list[str]:
    """What an environment needs that serves the model, at the versions that wrote it."""
    # `2.15.0+cu132` is a build that only the index it came from knows.
    pins = [f"{name}=={metadata.version(name).partition('+')[0]}" for name in REQUIRED]
    return [f"perdure=={perdure.__version__}", *pins]


def signature(spec: FeatureSpec) -> Any:
    """Images as a tensor, or a frame; one prediction a row; probabilities on request."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    kinds = {bool: DataType.boolean, int: DataType.long, float: DataType.double}
    first = spec.labels[0] if spec.labels else 0.0
    one_kind = len({type(label) for label in spec.labels}) <= 1
    output = kinds.get(type(first), DataType.string) if one_kind else DataType.string
    inputs = Schema([_images(spec.columns[0])]) if spec.kind == "image" else None
    outputs = Schema([ColSpec(output)])
    if spec.task == "regression":
        return ModelSignature(inputs, outputs)
    asked = ParamSchema([ParamSpec("probabilities", DataType.boolean, False)])
    return ModelSignature(inputs, outputs, asked)


def _images(column: Column) -> Any:
    """uint8 (rows, height, width) of grey images, (rows, height, width, 3) of others."""
    import numpy as np
    from mlflow.types import TensorSpec

    shape = column.shape[:2] if column.shape[2] == 1 else column.shape
    return TensorSpec(np.dtype(np.uint8), (-1, *shape), name=column.name)


def example(spec: FeatureSpec, folder: Path) -> Any:
    """A few rows that the model was measured on, as they came."""
    import pandas as pd

    names = [column.name for column in spec.columns]
    rows = pd.read_parquet(folder / "evaluation" / "rows.parquet", columns=names)
    if spec.kind == "image":
        return {names[0]: _example(spec.columns[0], rows[names[0]].tolist())}
    for column in spec.columns:
        if column.kind == "time":
            rows[column.name] = values.times_as_text(rows[column.name].to_numpy(), column.time)
    whole = rows.dropna()
    return (whole if len(whole) else rows).head(EXAMPLES).reset_index(drop=True)


def _example(column: Column, pixels: list[bytes]) -> Any:
    import numpy as np

    shape = column.shape[:2] if column.shape[2] == 1 else column.shape
    # MLflow writes it as JSON: one large image is enough.
    count = EXAMPLES if np.prod(shape) * EXAMPLES <= EXAMPLE_VALUES else 1
    return np.stack([np.frombuffer(p, dtype=np.uint8).reshape(shape) for p in pixels[:count]])


def _spec(folder: Path) -> FeatureSpec:
    return FeatureSpec.from_json(json.loads((folder / "serving.json").read_bytes())["features"])
