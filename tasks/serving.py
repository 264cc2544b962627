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
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from perdure.strategies.features.columns import Column

    Input = pd.DataFrame | NDArray[Any] | dict[str, NDArray[Any]]
    Predicted = NDArray[Any] | pd.DataFrame

BATCH = 8192
"""Rows that go through the network at once, at most; bounds the memory of a large request."""


class Model:
    """A registered version, ready to predict.

    Args:
        folder: A version folder.

    Raises:
        Corrupt: A file is missing or changed, or could run code.
    """

    def __init__(self, folder: Path) -> None:
        from perdure.strategies.export import graph
        from perdure.strategies.features.columns import FeatureSpec

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

    def get_raw_model(self) -> Model:
        """Itself: MLflow's own check of the input, which knows no encoded images, is passed by."""
        return self

    def predict(self, data: Input, params: dict[str, Any] | None = None) -> Predicted:
        """Predict rows of raw columns, or images.

        Args:
            data: One row per prediction; further columns are ignored. Texts are text, sequences
                are lists of numbers or text such as `1.5 2 3`. Images are uint8 arrays (height,
                width[, channels]) or the bytes of an image file; or all of them are one array,
                uint8 (rows, height, width[, channels]), and no frame is needed.
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
            index = data.index if isinstance(data, pd.DataFrame) else None
            return pd.DataFrame(outputs.astype(np.float64), columns=names, index=index)
        chosen: NDArray[Any] = self._labels[outputs.argmax(axis=1)]
        return chosen

    def _outputs(self, data: Input) -> NDArray[np.floating[Any]]:
        import torch

        from perdure.strategies.features.encoding import encode
        from perdure.strategies.features.modules import rows_at_once

        raw = encode(self.spec, self._columns(data))
        if not len(raw):
            return np.zeros((0, len(self.spec.labels)) if self.spec.labels else 0)
        with torch.inference_mode():
            parts = [self._graph(part) for part in torch.split(raw, rows_at_once(self.spec, BATCH))]
        result: NDArray[np.floating[Any]] = torch.cat(parts).numpy()
        return result

    def _columns(self, data: Input) -> dict[str, NDArray[Any]]:
        if isinstance(data, dict):  # as MLflow hands arrays on
            data = next(iter(data.values()))
        if isinstance(data, np.ndarray):
            if self.spec.kind != "image":
                raise DataRefused("an array was given; the model takes a frame of named columns")
            column = self.spec.columns[0]
            return {column.name: _images(column, data)}
        present = [column for column in self.spec.columns if column.name in data.columns]
        return {column.name: _values(column, data) for column in present}


def _images(column: Column, pictures: Sequence[Any] | NDArray[Any]) -> NDArray[np.uint8]:
    """Images, each as an array or as the bytes of a file, as uint8 (rows, height, width, channels).

    Raises:
        DataRefused: One is neither, or cannot be read.
    """
    from perdure.strategies.features import images

    if isinstance(pictures, np.ndarray) and pictures.dtype == np.uint8:
        if pictures.ndim == 3 and pictures.shape[1:] == column.shape[:2] and column.shape[2] == 1:
            return pictures[:, :, :, None]
        if pictures.shape[1:] == column.shape:
            return pictures
    elif isinstance(pictures, np.ndarray) and pictures.dtype != object:
        raise DataRefused(
            f"images are {pictures.dtype} of shape {pictures.shape}; they must be uint8 (rows, "
            "height, width[, channels])"
        )
    found = np.empty((len(pictures), *column.shape), dtype=np.uint8)
    for row, picture in enumerate(pictures):
        try:
            pixels = _pixels(picture, column.shape)
        except images.Unreadable as error:
            raise DataRefused(f"column {column.name}: the image in row {row} {error}") from error
        found[row] = np.frombuffer(pixels, dtype=np.uint8).reshape(column.shape)
    return found


def _pixels(picture: Any, shape: tuple[int, int, int]) -> bytes:
    from perdure.strategies.features import images

    if isinstance(picture, (bytes, bytearray, memoryview)):
        data = bytes(picture)
        try:
            return images.decode(data, shape)
        except images.Unreadable:
            if len(data) == int(np.prod(shape)):  # pixels already, as in evaluation/rows.parquet
                return data
            raise
    array = np.asarray(picture)
    whole = array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 255
    return images.fit(array.astype(np.uint8) if whole else array, shape)


def _values(column: Column, data: pd.DataFrame) -> NDArray[Any]:
    """One column as `features.encode` takes it: float64, or text with None for missing."""
    times = int((data.columns == column.name).sum())
    if times != 1:
        raise DataRefused(f"column {column.name} is there {times} times; it must be there once")
    series: pd.Series[Any] = data[column.name]
    if column.kind == "image":
        return _images(column, series.tolist())
    missing = series.isna().to_numpy()
    if column.kind == "number":
        return _numbers(column, series, missing)
    values = series.astype(object).to_numpy()
    if column.kind in ("text", "sequence"):
        return values
    known = set(column.categories)
    return np.array(
        [None if gone else _text(item, known) for item, gone in zip(values, missing, strict=True)],
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
