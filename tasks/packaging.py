"""A version folder: everything that one version in the registry holds.

```
serving.json               the features (vocabulary included), and Perdure's version
model.pt2                  the graph from raw columns to predictions, any number of rows
learner/                   the whole learner
evaluation/rows.parquet    the rows that it was measured on
evaluation/evaluation.json the numbers that the gates saw
manifest.json              sha256 of every file above
```
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import perdure
from perdure import manifest
from perdure.config import Workspace
from perdure.records import DriftPoint, Evaluation, Matrix, to_json

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from perdure.strategies.features.columns import FeatureSpec

SERVING = "serving.json"
MODEL = "model.pt2"
LEARNER = "learner"
ROWS = "evaluation/rows.parquet"
EVALUATION = "evaluation/evaluation.json"
PROBE = 256
"""Rows, at most, that the exported graph is compared with the learner on."""


def package(
    workspace: Workspace, learner: Path, rows: pd.DataFrame, evaluation: Evaluation, folder: Path
) -> Path:
    """Put a version folder together around a saved learner.

    Args:
        workspace: Says how to rebuild the learner's model.
        learner: A saved learner; copied, unless it is `folder/learner` already.
        rows: The evaluation rows, raw columns.
        evaluation: The numbers of this learning step.
        folder: Where to put it; made if missing.

    Returns:
        `folder`, complete and with its manifest.

    Raises:
        ConfigError: The model cannot be exported for serving.
        Corrupt: The learner is incomplete.
    """
    from perdure.strategies.learner.learner import Learner

    loaded = Learner.load(learner, workspace.config, workspace.root)
    if learner.resolve() != (folder / LEARNER).resolve():
        shutil.copytree(learner, folder / LEARNER)
    return assemble(folder, loaded.spec, loaded.inference(), rows, evaluation)


def assemble(
    folder: Path,
    spec: FeatureSpec,
    module: nn.Module,
    rows: pd.DataFrame,
    evaluation: Evaluation,
) -> Path:
    """Write everything but the learner, and the manifest last.

    Args:
        folder: Holds `learner/`.
        spec: The features.
        module: What `features.encode` gives to predictions, on the CPU.
        rows: The evaluation rows, raw columns; at least one.
        evaluation: The numbers of this learning step.
    """
    import numpy as np

    from perdure.strategies.export import graph
    from perdure.strategies.features.encoding import encode

    (folder / EVALUATION).parent.mkdir(parents=True, exist_ok=True)
    _json(folder / SERVING, {"perdure": perdure.__version__, "features": spec.to_json()})
    _json(folder / EVALUATION, to_json(evaluation))
    rows.to_parquet(folder / ROWS, index=False)
    columns = {
        column.name: rows[column.name]
        .head(PROBE)
        .to_numpy(dtype=np.float64 if column.kind == "number" else object)
        for column in spec.columns
    }
    graph.export(module, encode(spec, columns), folder / MODEL)
    manifest.write(folder)
    return folder


def rows_in(folder: Path) -> pd.DataFrame:
    """The evaluation rows of a version folder.

    Raises:
        Corrupt: The file is missing or changed.
    """
    import pandas as pd

    return pd.read_parquet(io.BytesIO(manifest.checked(folder, ROWS)))


def numbers_in(folder: Path) -> dict[str, Any]:
    """The evaluation of a version folder: `records.Evaluation` as JSON.

    Raises:
        Corrupt: The file is missing or changed.
    """
    value: dict[str, Any] = json.loads(manifest.checked(folder, EVALUATION))
    return value


def labels_in(folder: Path) -> tuple[Any, ...]:
    """The labels that a version knows, in the order of its outputs; none of a regression.

    Raises:
        Corrupt: The file is missing or changed.
    """
    value = json.loads(manifest.checked(folder, SERVING))
    return tuple(value["features"]["labels"])


def matrix_in(folder: Path) -> Matrix:
    """The accuracy matrix of a version folder."""
    value = numbers_in(folder)["matrix"]
    rows = tuple(tuple(row) for row in value["values"])
    return Matrix(str(value["metric"]), tuple(value["experiences"]), rows)


def drift_history_in(folder: Path) -> tuple[DriftPoint, ...]:
    """The history of drift in a version folder; none in one that an older Perdure wrote."""
    return tuple(map(DriftPoint.from_json, numbers_in(folder).get("drift_history", ())))


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
