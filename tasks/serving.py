"""Serving: what MLflow loads a registered version with (a pyfunc `loader_module`).

The code is the installed Perdure; from the registry come numbers alone, checked against
their manifest. Raw columns go in, the user's own labels or values come out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure import manifest
from perdure.errors import Corrupt, DataRefused

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from perdure.strategies.features import Column

BATCH = 8192
"""Rows that go through the network at once; bounds the memory of a large request."""


class Model:
    """A registered version, ready to predict.

    Args:
        folder: A version folder.

    Raises:
        Corrupt: A file is missing or changed, or could run code.
    """

    def __init__(self, folder: Path) -> None:
        from perdure.strategies import graph
        from perdure.strategies.features import FeatureSpec

        manifest.verify(folder)
        try:
            value = json.loads((folder / "serving.json").read_bytes())
            self.spec = FeatureSpec.from_json(value["features"])
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"{folder / 'serving.json'} does not describe the features") from error
        self._graph = graph.load(folder / "model.pt2")
        kinds = {type(label) for label in self.spec.labels}
        self._labels = np.empty(len(self.spec.labels), dtype=object)
        self._labels[:] = self.spec.labels
        if kinds in ({bool}, {int}):
            self._labels = self._labels.astype(kinds.pop())

    def predict(
        self, data: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> NDArray[Any] | pd.DataFrame:
        """Predict rows of raw columns.

        Args:
            data: One row per prediction; further columns are ignored.
            params: `{"probabilities": True}` asks for the probability of each class.

        Returns:
            `(rows,)`: labels as the user wrote them, or float64 values. With probabilities:
            a frame `(rows, classes)`, one column per label, each row sums to 1.

        Raises:
            DataRefused: A column is missing or holds something else than the model knows.
        """
        import pandas as pd

        wanted = bool((params or {}).get("probabilities", False))
        if wanted and self.spec.task == "regression":
            raise DataRefused(
                "probabilities were asked of a regression; it has none",
                hint="leave out the parameter probabilities",
            )
        outputs = self._outputs(data)
        if self.spec.task == "regression":
            return outputs.astype(np.float64)
        if wanted:
            names = [str(label) for label in self.spec.labels]
            return pd.DataFrame(outputs.astype(np.float64), columns=names, index=data.index)
        chosen: NDArray[Any] = self._labels[outputs.argmax(axis=1)]
        return chosen

    def _outputs(self, data: pd.DataFrame) -> NDArray[np.floating[Any]]:
        import torch

        from perdure.strategies.features import encode

        present = [column for column in self.spec.columns if column.name in data.columns]
        raw = encode(self.spec, {column.name: _values(column, data) for column in present})
        if not len(raw):
            return np.zeros((0, len(self.spec.labels)) if self.spec.labels else 0)
        with torch.inference_mode():
            parts = [self._graph(raw[at : at + BATCH]) for at in range(0, len(raw), BATCH)]
        result: NDArray[np.floating[Any]] = torch.cat(parts).numpy()
        return result


def _values(column: Column, data: pd.DataFrame) -> NDArray[Any]:
    """One column as `features.encode` takes it: float64, or text with None for missing."""
    times = int((data.columns == column.name).sum())
    if times != 1:
        raise DataRefused(f"column {column.name} is there {times} times; it must be there once")
    series: pd.Series[Any] = data[column.name]
    missing = series.isna().to_numpy()
    if column.kind == "number":
        return _numbers(column, series, missing)
    known = set(column.categories)
    items = series.astype(object).to_numpy()
    return np.array(
        [None if gone else _text(item, known) for item, gone in zip(items, missing, strict=True)],
        dtype=object,
    )


def _numbers(column: Column, series: pd.Series[Any], missing: NDArray[np.bool_]) -> NDArray[Any]:
    import pandas as pd

    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    numbers = pd.to_numeric(series, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    strange = np.isnan(numbers) & ~missing
    if strange.any():
        row = int(strange.argmax())
        raise DataRefused(
            f"column {column.name} holds {series.iloc[row]!r} in row {row}; it must be a number",
            hint="leave a missing number empty (null, NaN)",
        )
    return numbers


def _text(item: Any, known: set[str]) -> str:
    """A category as the table had it: pandas reads `17` as a number and `true` as a bool."""
    text = str(item)
    if text in known:
        return text
    if isinstance(item, (bool, np.bool_)):
        return next((name for name in (text.lower(), text.upper()) if name in known), text)
    if isinstance(item, (float, np.floating)) and float(item).is_integer():
        return str(int(item))
    return text


def _load_pyfunc(path: str) -> Model:
    """MLflow's entry; `path` is the version folder."""
    return Model(Path(path))
