"""Infer a schema from the first file: wide enough for the world to change, not for nonsense."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from perdure.config import Task
from perdure.errors import DataRefused, UsageError
from perdure.tasks.tables import values
from perdure.tasks.tables.model import (
    CategoryColumn,
    ClassTarget,
    Column,
    IgnoredColumn,
    Label,
    NumberColumn,
    Schema,
    ValueTarget,
)

if TYPE_CHECKING:
    import pandas as pd

MOSTLY = 0.95
"""A column is what this share of its values is; the others will be refused, row by row."""
QUANTILES = (0.005, 0.995)
WIDENED = 5.0
"""The central 99 % of a number's values is widened by this many times its span on each side."""
FEW_INTEGERS = 20
"""A target with at most so many distinct whole numbers is one of classes."""
MOST_CLASSES = 1_000
FEW_WORDS, MOST_WORDS = 20, 1_000
"""So few distinct words are always categories; so many never are."""
_DATE = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$"


def infer(frame: pd.DataFrame, target: str, task: Task | None = None) -> Schema:
    """The schema of a table.

    Args:
        frame: As `read_table` gives it.
        target: The column to predict.
        task: None: classification for text, truth values and at most 20 distinct whole
            numbers, else regression.

    Raises:
        UsageError: There is no such column, or it does not fit the task.
        DataRefused: The target has no values or only one, or no column is of use to a model.
    """
    if target not in frame.columns:
        listed = ", ".join(map(str, frame.columns))
        raise UsageError(
            f"the table has no column {target!r}; it has {listed}", hint="--target COLUMN"
        )
    columns = {str(n): _column(frame[n]) for n in frame.columns if str(n) != target}
    if all(column.kind == "ignore" for column in columns.values()):
        raise DataRefused(
            f"no column but {target!r} holds numbers or categories: there is nothing to learn from"
        )
    return Schema(target=_target(frame[target], target, task), columns=columns)


def _column(column: pd.Series[Any]) -> Column:
    texts = values.as_text(column)
    numbers, wrong = values.as_numbers(column)
    present = ~np.isnan(numbers) | wrong
    if not present.any() or column.dtype.kind in "mM":
        return IgnoredColumn()
    if wrong.sum() <= (1 - MOSTLY) * present.sum():
        found = numbers[np.isfinite(numbers)]
        if not found.size or _counts_rows(numbers):
            return IgnoredColumn()
        low, high = _range(found)
        return NumberColumn(nullable=bool((~present).any()), min=low, max=high)
    words = texts[np.array([text is not None for text in texts])]
    nullable = len(words) < len(texts)
    truths = set(values.as_truth_words(words))
    if truths <= {"False", "True"}:
        return CategoryColumn(nullable=nullable, unseen="refuse", categories=("False", "True"))
    # An enumeration repeats itself; names, free text and dates do not, or never come again.
    distinct = sorted(set(words))
    most = min(MOST_WORDS, max(FEW_WORDS, len(words) // 20), len(words) // 2)
    dated = values.matches(words, _DATE).mean() >= MOSTLY
    if len(distinct) > most or dated or not _scalars(column):
        return IgnoredColumn()
    return CategoryColumn(nullable=nullable, categories=tuple(distinct))


def _counts_rows(numbers: values.Numbers) -> bool:
    """Whether a column is but the number of its row, counted up by one."""
    return len(numbers) > 2 and bool((np.diff(numbers) == 1.0).all())


def _scalars(column: pd.Series[Any]) -> bool:
    """Whether the values are more than lists and records told as text."""
    return column.dtype != object or not any(
        hasattr(v, "__len__") and not isinstance(v, str) for v in column.tolist()
    )


def _range(found: values.Numbers) -> tuple[float | None, float | None]:
    # Inward to a value that is there: else one absurd value moves a small table's quantile.
    low = float(np.quantile(found, QUANTILES[0], method="higher"))
    high = float(np.quantile(found, QUANTILES[1], method="lower"))
    with np.errstate(over="ignore"):
        reach = WIDENED * (high - low)
    if not 0.0 < reach < np.inf or not np.isfinite([low - reach, high + reach]).all():
        return None, None
    return _short(low - reach, np.floor, reach), _short(high + reach, np.ceil, reach)


def _short(bound: float, outward: np.ufunc, reach: float) -> float:
    """A bound that reads well: outward to a hundredth of the reach's leading digit or so."""
    digits = 2 - int(np.floor(np.log10(reach)))
    if not 0 <= digits <= 300:
        scale = 10.0 ** min(-digits, 300)
        return float(outward(bound / scale) * scale) if digits < 0 else bound
    return round(float(outward(bound * 10.0**digits)) / 10.0**digits, digits)


def _target(column: pd.Series[Any], name: str, task: Task | None) -> ClassTarget | ValueTarget:
    texts = values.as_text(column)
    present = np.array([text is not None for text in texts], dtype=bool)
    if not present.any():
        raise DataRefused(f"the target {name!r} has no values")
    labels = _labels(column, present)
    numbers, wrong = values.as_numbers(column)
    numeric = wrong.sum() <= (1 - MOSTLY) * present.sum()
    if task is None:
        few = len(labels) <= FEW_INTEGERS and isinstance(labels[0], int)
        task = "classification" if few or not numeric else "regression"
    if task == "regression":
        if not numeric:
            example = next(text for text, bad in zip(texts, wrong, strict=True) if bad)
            raise UsageError(
                f"the target {name!r} is not a number ({example!r}), so there is no regression",
                hint="--task classification",
            )
        found = numbers[np.isfinite(numbers)]
        if found.size == 0 or found.min() == found.max():
            raise DataRefused(f"the target {name!r} has only one value: nothing to learn")
        low, high = _range(found)
        return ValueTarget(name=name, min=low, max=high)
    if len(labels) > MOST_CLASSES:
        raise UsageError(
            f"the target {name!r} has {len(labels)} classes; the most is {MOST_CLASSES}",
            hint="--task regression" if numeric else None,
        )
    if len(labels) < 2:
        raise DataRefused(f"the target {name!r} has only one class, {labels[0]!r}")
    return ClassTarget(name=name, classes=labels)


def _labels(column: pd.Series[Any], present: values.Mask) -> tuple[Label, ...]:
    """The distinct labels, sorted; whole numbers and truth values where the column is such."""
    for kind in (bool, int):
        found, wrong = values.as_labels(column, kind)
        if wrong.sum() <= (1 - MOSTLY) * present.sum():
            labels: list[Label] = sorted({label for label in found if label is not None})
            if labels:
                return tuple(labels)
    return tuple(sorted({text for text in values.as_text(column) if text is not None}))
