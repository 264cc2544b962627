"""Serving: what MLflow loads a registered version with (a pyfunc `loader_module`).

The code is the installed Perdure; from the registry come numbers alone, checked against
their manifest. Raw columns go in, the user's own labels or values come out.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure import manifest
from perdure.errors import Corrupt, DataRefused
from perdure.reading import rules, values, words
from perdure.reading.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence, Set

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
            value = manifest.json_in(folder, "serving.json")
            self.spec = FeatureSpec.from_json(value["features"])
            # Versions of an older Perdure ask nothing.
            asked = {name: Rules.from_json(v) for name, v in value.get("rules", {}).items()}
            self.rules = {c.name: asked.get(c.name, Rules()) for c in self.spec.columns}
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
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
            DataRefused: A column is missing, or holds what `perdure ingest` would refuse. It is an
                MLflow error, too, of the status 400.
        """
        try:
            return self._predict(data, params)
        except DataRefused as refusal:
            hint = f" ({refusal.hint})" if refusal.hint else ""
            raise _rows_refused()(refusal.message + hint) from None

    def _predict(self, data: Input, params: dict[str, Any] | None) -> Predicted:
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
        if isinstance(data, dict) and self.spec.kind == "image":  # as MLflow hands arrays on
            data = next(iter(data.values()))
        if isinstance(data, (dict, list)):
            data = _frame(data)
        if isinstance(data, np.ndarray):
            if self.spec.kind != "image":
                raise DataRefused("an array was given; the model takes a frame of named columns")
            column = self.spec.columns[0]
            return {column.name: _images(column, data)}
        given = _by_name(data, {column.name for column in self.spec.columns})
        found: dict[str, NDArray[Any]] = {}
        faults: list[tuple[int, str]] = []
        for column in self.spec.columns:
            if (series := given.get(column.name)) is None:
                continue
            found[column.name], wrong = _values(column, series)
            faults += _faults(column, series, found[column.name], wrong, self.rules[column.name])
        if faults:
            row, what = min(faults, key=lambda fault: fault[0])
            count = len({row for row, _ in faults})
            more = f" (and {count - 1} more row{'s' * (count != 2)} refused)" if count > 1 else ""
            raise DataRefused(f"row {row + 1}: {what}{more}")
        return found


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


def _frame(data: dict[str, Any] | list[Any]) -> pd.DataFrame:
    """Columns by name, or records, as MLflow hands on `inputs` and `instances`."""
    import pandas as pd

    try:
        # Of records with `null` MLflow makes arrays of arrays without a dimension.
        frame = pd.DataFrame(data)
        return frame.apply(lambda column: column.map(_scalar)) if len(frame) else frame
    except ValueError as error:
        raise DataRefused(f"the input is no table: {error}") from error


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _by_name(data: pd.DataFrame, names: Set[str]) -> dict[str, pd.Series[Any]]:
    """The columns with these names, each once."""
    found: dict[str, pd.Series[Any]] = {}
    for name, series in data.items():
        if name not in names:
            continue
        if name in found:
            times = int((data.columns == name).sum())
            raise DataRefused(f"column {name} is there {times} times; it must be there once")
        found[str(name)] = series
    return found


def _values(column: Column, series: pd.Series[Any]) -> tuple[NDArray[Any], values.Mask]:
    """A column as `encode` takes it, read as `perdure ingest` reads it; and what is not so."""
    right = np.zeros(len(series), dtype=bool)
    if column.kind == "image":
        return _images(column, series.tolist()), right
    if column.kind == "number":
        return values.as_numbers(series, column.format)
    if column.kind == "time":
        return values.as_times(series, column.time)
    if column.kind == "category":
        return words.as_words(series, column.categories, truth=column.truth), right
    if column.kind == "text":
        return values.as_texts(series), right
    return series.astype(object).to_numpy(), right


def _faults(
    column: Column,
    series: pd.Series[Any],
    canonical: NDArray[Any],
    wrong: values.Mask,
    asked: Rules,
) -> Iterator[tuple[int, str]]:
    """The first value, if there is one, that breaks each rule: its row, and the sentence."""
    if column.kind in ("image", "sequence"):
        return
    what = rules.NOT_A_NUMBER if column.kind == "number" else f"is not {column.time.words}"
    found = [(wrong, what)] if wrong.any() else []
    for rows, what in (*found, *rules.broken(canonical, wrong, asked)):
        for row in np.flatnonzero(rows).tolist():
            text = values.as_text(series.iloc[[row]])[0]
            yield row, rules.sentence(column.name, text, what, numeric=column.kind == "number")


@cache
def _rows_refused() -> type[DataRefused]:
    """A refusal that MLflow's scoring server answers with its words and the status 400."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

    class RowsRefused(MlflowException, DataRefused):
        """What ingest would refuse."""

        hint = None

        def __init__(self, message: str) -> None:
            MlflowException.__init__(self, message, error_code=INVALID_PARAMETER_VALUE)

    return RowsRefused


def _load_pyfunc(path: str) -> Model:
    """MLflow's entry; `path` is the version folder."""
    return Model(Path(path))
