"""Infer a schema from the first file: the form of the data, not the state of the world.

Inferred: the names and kinds of columns, and which may have missing values. Not inferred: the
range of numbers, and that later files hold only the words and classes of the first. Limits are
for a person to write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from perdure.config import Task
from perdure.errors import DataRefused, UsageError
from perdure.tasks.tables import pictures, values, whole
from perdure.tasks.tables.columns import CategoryColumn, Column, IgnoredColumn, NumberColumn
from perdure.tasks.tables.model import ClassTarget, Label, Schema, ValueTarget

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

MOSTLY = 0.95
"""A column is what this share of its values is; the others will be refused, row by row."""
FEW_INTEGERS = 20
"""A target with at most so many distinct whole numbers is one of classes."""
MOST_CLASSES = 1_000
FEW_WORDS, MOST_WORDS = 20, 1_000
"""So few distinct words are always categories; so many never are."""
MIN_CLASS_ROWS = 10
"""Rows that a new class needs before it is let in. Of 10 rows about 7 train the model and 2 test
it (`data.test`, `data.validation`); a typing error seldom comes 10 times, spelled alike."""


def infer(
    frame: pd.DataFrame,
    target: str,
    task: Task | None = None,
    kind: str | None = None,
    column: str | None = None,
) -> Schema:
    """The schema of a table.

    Args:
        frame: As `read_table` gives it.
        target: The column to predict.
        task: None: classification for text, truth values and at most 20 distinct whole
            numbers, else regression.
        kind: `table`, `text` or `sequence`: what is learned from. None: numbers and
            categories; where there are none, the one column of text or of sequences.
        column: The column of text or of sequences; None: the only one there is.

    Raises:
        UsageError: There is no such column, or it does not fit the task or the kind.
        DataRefused: The target has no values or only one, or no column is of use to a model.
    """
    for name in (target, column):
        if name is not None and name not in frame.columns:
            listed = ", ".join(map(str, frame.columns))
            hint = "--target COLUMN" if name == target else "--column NAME"
            raise UsageError(f"the table has no column {name!r}; it has {listed}", hint=hint)
    if column is not None and column == target:
        raise UsageError(f"column {column!r} is the target; it cannot be learned from as well")
    names = [str(name) for name in frame.columns if str(name) != target]
    if kind in ("text", "sequence"):
        name, only = whole.chosen(frame, names, kind, column)
        return _alone(frame, names, name, only, target, task)
    columns = {name: column_of(frame[name]) for name in names}
    if all(column.kind == "ignore" for column in columns.values()):
        found = whole.candidates(frame, names) if kind is None else {}
        if len(found) == 1:
            ((name, only),) = found.items()
            return _alone(frame, names, name, only, target, task)
        listed = "; these could be learned from alone: " + ", ".join(found) if found else ""
        raise DataRefused(
            f"no column but {target!r} holds numbers or categories: there is nothing to learn "
            f"from{listed}",
            hint="--kind text --column NAME" if found else None,
        )
    return _schema(_target(frame[target], target, task), columns)


def infer_pictures(
    path: Path, target: str, task: Task | None = None, size: tuple[int, int] | None = None
) -> Schema:
    """The schema of images by class; see `pictures.read_pictures` for what they may be.

    Args:
        path: The first images.
        target: What to call the labels.
        task: As for `infer`.
        size: Height and width; None: the most common size, at most 224 on the longer side.

    Raises:
        UsageError: The labels do not fit the task.
        DataRefused: There is no image that can be read, or only one class.
    """
    import pandas as pd

    column, labels = pictures.infer_column(path, size)
    of = _target(pd.Series(labels, dtype=object), target, task)
    name = pictures.COLUMN if target != pictures.COLUMN else f"{pictures.COLUMN}_"
    return _schema(of, {name: column})


def _alone(
    frame: pd.DataFrame, names: list[str], name: str, only: Column, target: str, task: Task | None
) -> Schema:
    columns: dict[str, Column] = {other: IgnoredColumn() for other in names}
    columns[name] = only
    return _schema(_target(frame[target], target, task), columns)


def _schema(target: ClassTarget | ValueTarget, columns: dict[str, Column]) -> Schema:
    return Schema(extra_columns="ignore", target=target, columns=columns)


def column_of(column: pd.Series[Any]) -> Column:
    """The kind of one column: number, category or, where it is neither, ignored."""
    texts = values.as_text(column)
    numbers, wrong = values.as_numbers(column)
    present = ~np.isnan(numbers) | wrong
    if not present.any() or column.dtype.kind in "mM":
        return IgnoredColumn()
    if wrong.sum() <= (1 - MOSTLY) * present.sum():
        found = numbers[np.isfinite(numbers)]
        if not found.size or _counts_rows(numbers):
            return IgnoredColumn()
        return NumberColumn(nullable=bool((~present).any()))
    words = texts[np.array([text is not None for text in texts])]
    nullable = len(words) < len(texts)
    truths = set(values.as_truth_words(words))
    # Truth values are a type, as numbers are: another word in their place is no new word.
    if truths <= {"False", "True"}:
        return CategoryColumn(nullable=nullable, unseen="refuse", categories=("False", "True"))
    # An enumeration repeats itself; names, free text and dates do not, or never come again.
    distinct = sorted(set(words))
    most = min(MOST_WORDS, max(FEW_WORDS, len(words) // 20), len(words) // 2)
    dated = values.matches(words, values.DATE).mean() >= MOSTLY
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
        return ValueTarget(name=name)
    if len(labels) > MOST_CLASSES:
        raise UsageError(
            f"the target {name!r} has {len(labels)} classes; the most is {MOST_CLASSES}",
            hint="--task regression" if numeric else None,
        )
    if len(labels) < 2:
        raise DataRefused(f"the target {name!r} has only one class, {labels[0]!r}")
    if isinstance(labels[0], bool):  # there is no third truth value
        return ClassTarget(name=name, classes=labels)
    return ClassTarget(
        name=name, classes=labels, new_classes="allow", min_class_rows=MIN_CLASS_ROWS
    )


def _labels(column: pd.Series[Any], present: values.Mask) -> tuple[Label, ...]:
    """The distinct labels, sorted; whole numbers and truth values where the column is such."""
    for kind in (bool, int):
        found, wrong = values.as_labels(column, kind)
        if wrong.sum() <= (1 - MOSTLY) * present.sum():
            labels: list[Label] = sorted({label for label in found if label is not None})
            if labels:
                return tuple(labels)
    return tuple(sorted({text for text in values.as_text(column) if text is not None}))
