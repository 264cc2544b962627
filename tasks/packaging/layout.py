"""The names of the files in a version folder, and what several readers of them need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure import evaluations
from perdure.errors import Corrupt

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from perdure.strategies.features.columns import FeatureSpec

SERVING = "serving.json"
MODEL = "model.pt2"
LEARNER = "learner"
ROWS = "evaluation/rows.parquet"
EVALUATION = evaluations.NAME


def columns_of(spec: FeatureSpec, rows: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """The feature columns of rows as arrays: numbers and times float64, everything else object."""
    import numpy as np

    return {
        column.name: rows[column.name].to_numpy(
            dtype=np.float64 if column.kind in ("number", "time") else object
        )
        for column in spec.columns
    }


def corrupt(path: Path, what: str) -> Corrupt:
    """The fault that a file of a version holds something else."""
    return Corrupt(
        f"{path} is not what stands in a version: {what}",
        hint="perdure rollback --to VERSION chooses a version that is whole",
    )
