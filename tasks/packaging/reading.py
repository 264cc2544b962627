"""Read what stands in a version folder; whatever it is, nothing but `Corrupt` follows."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure import evaluations, manifest
from perdure.records import DriftPoint, Matrix
from perdure.strategies.learner import files
from perdure.tasks.packaging.layout import LEARNER, MODEL, ROWS, SERVING, corrupt

if TYPE_CHECKING:
    import pandas as pd

    from perdure.strategies.features.columns import FeatureSpec
    from perdure.strategies.learner.files import Saved

OWN = ("_experience", "_key")
"""Columns of the evaluation rows beside those of the data: whose a row is, what it is split by."""
VALUES: Mapping[str, tuple[str, ...]] = {
    "category": ("str", "NoneType", "float"),
    "text": ("str", "NoneType", "float"),
    "image": ("bytes",),
    "sequence": ("ndarray", "list", "NoneType", "float"),
}
"""Types of the values in the evaluation rows, by the kind of the column; numbers are a dtype."""


def rows_in(folder: Path) -> pd.DataFrame:
    """The evaluation rows of a version folder.

    Raises:
        Corrupt: The file is missing or changed, or has other columns than the features need.
    """
    import pandas as pd

    spec = spec_in(folder)
    data = manifest.checked(folder, ROWS)
    try:
        rows = pd.read_parquet(io.BytesIO(data))
        fault = _fault(rows, spec)
    except Exception as error:  # noqa: BLE001 - pyarrow and pandas raise what they like
        fault = f"it cannot be read ({type(error).__name__})"
    if fault:
        raise corrupt(folder / ROWS, fault)
    return rows


def spec_in(folder: Path) -> FeatureSpec:
    """The features of a version folder.

    Raises:
        Corrupt: The file is missing or changed, or does not describe features.
    """
    from perdure.strategies.features.columns import FeatureSpec

    value = manifest.json_in(folder, SERVING)
    try:
        return FeatureSpec.from_json(value["features"])
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise corrupt(
            folder / SERVING, f"it does not describe the features ({type(error).__name__})"
        ) from error


def look(folder: Path) -> Saved:
    """Look at every file of a version folder as far as that needs no torch, and takes no time.

    The learner's features, recipe, cursor, and the names of its tensors; whether the features that
    are served are the learner's; the columns of the rows, the numbers; and whether the graph
    is an archive.

    Args:
        folder: As `Registry.download` gives it: its manifests were compared already.

    Raises:
        Corrupt: A file is not what stands in a version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found, spec = files.look(folder / LEARNER), spec_in(folder)
    if spec != found.spec:
        raise corrupt(folder / SERVING, "its features are not those of the learner")
    evaluations.read(folder)
    try:
        lacking = _wanted(spec) - set(pq.read_schema(folder / ROWS).names)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise corrupt(folder / ROWS, f"it cannot be read ({type(error).__name__})") from error
    if lacking:
        raise corrupt(folder / ROWS, f"it lacks the column {min(lacking)!r:.60}")
    if not zipfile.is_zipfile(folder / MODEL):
        raise corrupt(folder / MODEL, "it is no archive")
    return found


def _wanted(spec: FeatureSpec) -> set[str]:
    """The columns that evaluation rows have."""
    return {*(column.name for column in spec.columns), spec.target, *OWN}


def _fault(rows: pd.DataFrame, spec: FeatureSpec) -> str | None:
    """What is wrong with evaluation rows."""
    if lacking := _wanted(spec) - set(rows.columns):
        return f"it lacks the column {min(lacking)!r:.60}"
    if not len(rows):
        return "it has no row"
    numbers = {c.name for c in spec.columns if c.kind in ("number", "time")}
    if wrong := [name for name in numbers if rows[name].dtype.kind not in "fiub"]:
        return f"its column {wrong[0]!r:.60} holds no numbers"
    for column in spec.columns:
        kinds = {type(value).__name__ for value in rows[column.name]}
        if column.name not in numbers and not kinds <= set(VALUES[column.kind]):
            return f"its column {column.name!r:.60} holds other values than a {column.kind}"
    if not all(isinstance(one, str) for one in rows[OWN[0]]):
        return f"its column {OWN[0]!r} names no experiences"
    target = rows[spec.target].tolist()
    if spec.task == "classification" and not set(target) <= set(spec.labels):
        return "it has a class that the model does not know"
    if spec.task == "regression" and rows[spec.target].dtype.kind not in "fiu":
        return "its target holds no numbers"
    return None


def numbers_in(folder: Path) -> dict[str, Any]:
    """The evaluation of a version folder: `records.Evaluation` as JSON.

    Raises:
        Corrupt: The file is missing or changed, or has something else in it.
    """
    return evaluations.read(folder)


def labels_in(folder: Path) -> tuple[Any, ...]:
    """The labels that a version knows, in the order of its outputs; none of a regression.

    Raises:
        Corrupt: The file is missing or changed, or does not describe features.
    """
    return spec_in(folder).labels


def matrix_in(folder: Path) -> Matrix:
    """The accuracy matrix of a version folder."""
    value = numbers_in(folder)["matrix"]
    rows = tuple(tuple(row) for row in value["values"])
    return Matrix(str(value["metric"]), tuple(value["experiences"]), rows)


def drift_history_in(folder: Path) -> tuple[DriftPoint, ...]:
    """The history of drift in a version folder; none in one that an older Perdure wrote."""
    return tuple(map(DriftPoint.from_json, numbers_in(folder).get("drift_history", ())))
