"""Raw columns, and the target, as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from perdure.errors import DataRefused
from perdure.reading import arrow_text
from perdure.strategies.features import items
from perdure.strategies.features.columns import (
    FIRST,
    MISSING,
    UNSEEN,
    Array,
    Column,
    Columns,
    FeatureSpec,
)

MANY = 1000
"""From so many rows on words are found at once by Arrow, which takes time to begin."""


def encode(spec: FeatureSpec, columns: Columns) -> Tensor:
    """Raw columns as one tensor.

    Returns:
        Table: float64 (rows, columns): numbers and times as they are, NaN for missing;
        categories as their code: 0 missing, 1 unseen, 2 and up the place in the vocabulary, or
        the bucket.
        Image: uint8 (rows, channels, height, width).
        Text: int32 (rows, length): codes from 1, then 0 for padding.
        Sequence: float64 (rows, length): numbers, then NaN for padding.

    Raises:
        DataRefused: A column is missing, or holds something else.
    """
    lacking = [column.name for column in spec.columns if column.name not in columns]
    if lacking:
        raise DataRefused(
            f"missing column{'s' if len(lacking) > 1 else ''}: {', '.join(lacking)}",
            hint=f"the model needs {', '.join(column.name for column in spec.columns)}",
        )
    if spec.kind != "table":
        column = spec.columns[0]
        return {"image": _images, "text": _texts, "sequence": _sequences}[spec.kind](
            column, columns[column.name]
        )
    encoded = np.empty((len(columns[spec.columns[0].name]), len(spec.columns)))
    for place, column in enumerate(spec.columns):
        values = _encode_column(column, columns[column.name])
        if len(values) != len(encoded):
            lengths = (f"{one.name} {len(columns[one.name])}" for one in spec.columns)
            raise DataRefused(f"columns of different lengths: {', '.join(lengths)}")
        encoded[:, place] = values
    return torch.from_numpy(encoded)


def _encode_column(column: Column, values: Array) -> npt.NDArray[np.float64]:
    if column.kind in ("number", "time"):
        try:
            return np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataRefused(f"column {column.name} is not all numbers: {error}") from error
    given = np.asarray(values, dtype=object)
    known = {value: code for code, value in enumerate(column.categories, FIRST)}

    def code(word: Any) -> int:
        if _absent(word):
            return MISSING
        if column.buckets:
            return FIRST + items.bucket(word, column.buckets)
        return known.get(word, UNSEEN)

    texts = arrow_text.of_objects(given) if len(given) >= MANY else None
    if texts is None:
        found = {word: code(word) for word in given.tolist()}
        return np.array([found[word] for word in given.tolist()], dtype=np.float64)
    places, words = arrow_text.distinct(texts)
    return np.array([code(word) for word in words], dtype=np.float64)[places]


def _images(column: Column, values: Array) -> Tensor:
    if values.dtype == np.uint8 and values.shape[1:] == column.shape:
        return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))
    size = int(np.prod(column.shape))
    pixels = np.empty((len(values), size), dtype=np.uint8)
    for row, value in enumerate(values):
        if not isinstance(value, bytes) or len(value) != size:
            what = (
                f"{len(value)} bytes" if isinstance(value, bytes) else f"a {type(value).__name__}"
            )
            shape = " x ".join(map(str, column.shape))
            raise DataRefused(
                f"column {column.name} holds {what} in row {row}; "
                f"an image is {size} bytes ({shape}, uint8)"
            )
        pixels[row] = np.frombuffer(value, dtype=np.uint8)
    ordered = pixels.reshape(len(values), *column.shape).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(ordered))


def _texts(column: Column, values: Array) -> Tensor:
    coded = np.full((len(values), column.length), items.PADDING, dtype=np.int32)
    for row, value in enumerate(values):
        if _absent(value):
            continue
        if not isinstance(value, str):
            raise DataRefused(
                f"column {column.name} holds {value!r:.60} in row {row}; it must be text"
            )
        found = items.codes(value, column.tokenizer, column.vocabulary, column.length)
        coded[row, : len(found)] = found
    return torch.from_numpy(coded)


def _sequences(column: Column, values: Array) -> Tensor:
    padded = np.full((len(values), column.length), np.nan)
    for row, value in enumerate(values):
        if value is None or (isinstance(value, float) and np.isnan(value)):
            continue
        try:
            found = items.numbers(value)[-column.length :]
        except ValueError as error:
            raise DataRefused(f"column {column.name}, row {row}: {error}") from error
        padded[row, : len(found)] = found
    return torch.from_numpy(padded)


def _absent(value: Any) -> bool:
    # NaN, NaT and None; pandas' NA has no truth value, so it is recognised by its type's name.
    return value is None or type(value).__name__ == "NAType" or (value != value) is True


def encode_target(spec: FeatureSpec, values: Array) -> Tensor:
    """The target as training wants it.

    Returns:
        Classification: int64 (rows,), the place in `spec.labels`. Regression: float64 (rows,).

    Raises:
        DataRefused: A label is unknown, or a value is missing or not finite.
    """
    if spec.task == "regression":
        try:
            numbers = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataRefused(f"target {spec.target} is not all numbers: {error}") from error
        if not np.isfinite(numbers).all():
            row = int(np.flatnonzero(~np.isfinite(numbers))[0])
            raise DataRefused(f"target {spec.target} is {numbers[row]} in row {row}")
        return torch.from_numpy(numbers.copy())
    codes: dict[Any, int] = {label: code for code, label in enumerate(spec.labels)}
    given = np.asarray(values).tolist()
    coded = [codes.get(item, -1) for item in given]
    if -1 in coded:
        row = coded.index(-1)
        known = ", ".join(repr(label) for label in spec.labels)
        raise DataRefused(
            f"target {spec.target} = {given[row]!r} in row {row} is no label; known: {known}"
        )
    return torch.tensor(coded, dtype=torch.int64)
