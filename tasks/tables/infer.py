"""Infer a schema from the first file: the form of the data, not the state of the world.

Inferred: the names and kinds of columns, and which may have missing values. Not inferred: the
range of numbers, and that later files hold only the words and classes of the first. Limits are
for a person to write.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from perdure.config import Task
from perdure.errors import DataRefused, UsageError
from perdure.reading import values, words
from perdure.reading.formats import NumberFormat
from perdure.records import ColumnFound
from perdure.tasks.tables import guess, pictures, single_column
from perdure.tasks.tables.columns import (
    CategoryColumn,
    Column,
    IgnoredColumn,
    NumberColumn,
    TimeColumn,
)
from perdure.tasks.tables.definition import ClassTarget, Label, Schema, ValueTarget

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

MOSTLY = guess.MOSTLY
FEW_INTEGERS = 20
"""A target with at most so many distinct whole numbers is one of classes."""
MOST_CLASSES = 1_000
FEW_WORDS, MOST_WORDS = 20, 1_000
"""So few distinct words are always categories; so many are never a list."""
REPEATED = 4
"""Rows of a word, on average, from which on very many words are hashed, and not left out."""
BUCKETS = 1024
"""Codes that very many words are hashed to."""
OTHER_SPELLING = 0.1
"""Share of a word's rows that are written in another way: fewer are typing errors."""
MIN_CLASS_ROWS = 10
"""Rows that a new class needs before it is let in. Of 10 rows about 7 train the model and 2 test
it (`data.test`, `data.validation`); a typing error seldom comes 10 times, spelled alike."""


ColumnKind = Literal["number", "category", "time", "ignore"]
"""What a person may say that a column is."""


@dataclass(frozen=True, eq=False)
class Examined:
    """A schema, and what it was inferred from."""

    schema: Schema
    columns: tuple[ColumnFound, ...]
    """All columns but the target, in the order of the file."""
    notes: tuple[str, ...] = ()
    """What a person should know of the target."""


def infer(
    frame: pd.DataFrame,
    target: str,
    task: Task | None = None,
    kind: str | None = None,
    column: str | None = None,
) -> Schema:
    """The schema of a table; see `examine`."""
    return examine(frame, target, task, kind, column).schema


def examine(
    frame: pd.DataFrame,
    target: str,
    task: Task | None = None,
    kind: str | None = None,
    column: str | None = None,
    kinds: Mapping[str, ColumnKind] | None = None,
) -> Examined:
    """The schema of a table, and why each column is learned from or left out.

    Args:
        frame: As `read_table` gives it.
        target: The column to predict.
        task: None: classification for text, truth values and at most 20 distinct whole
            numbers, else regression.
        kind: `table`, `text` or `sequence`: what is learned from. None: numbers and
            categories; where there are none, the one column of text or of sequences.
        column: The column of text or of sequences; None: the only one there is.
        kinds: What a person says that a column is, by its name.

    Raises:
        UsageError: There is no such column, or it does not fit the task or the kind.
        DataRefused: The target has no values or only one, or no column is of use to a model.
    """
    kinds = kinds or {}
    for name in (target, column, *kinds):
        if name is not None and name not in frame.columns:
            listed = ", ".join(map(str, frame.columns))
            hint = "--target COLUMN" if name == target else None
            raise UsageError(f"the table has no column {name!r}; it has {listed}", hint=hint)
    if column is not None and column == target:
        raise UsageError(f"column {column!r} is the target; it cannot be learned from as well")
    if kinds.get(target, "number") != "number":
        raise UsageError(f"column {target!r} is the target", hint="--task classification")
    names = [str(name) for name in frame.columns if str(name) != target]
    of, notes = _target(frame[target], target, task, asked=target in kinds)
    if kind in ("text", "sequence"):
        name, only = single_column.chosen(frame, names, kind, column)
        return _alone(frame, names, name, only, of, notes)
    found = {name: _column(frame[name], name, kinds.get(name)) for name in names}
    columns = {name: column for name, (column, _) in found.items()}
    if all(column.kind in ("ignore", "time") for column in columns.values()):
        # Where there is neither a number nor a category, a text says more than when it was written.
        others = single_column.candidates(frame, names) if kind is None else {}
        if len(others) == 1:
            ((name, only),) = others.items()
            return _alone(frame, names, name, only, of, notes)
    if all(column.kind == "ignore" for column in columns.values()):
        listed = "; these could be learned from alone: " + ", ".join(others) if others else ""
        raise DataRefused(
            f"no column but {target!r} holds numbers or categories: there is nothing to learn "
            f"from{listed}",
            hint="--kind text --column NAME" if others else None,
        )
    return Examined(_schema(of, columns), tuple(one for _, one in found.values()), notes)


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
    of, _ = _target(pd.Series(labels, dtype=object), target, task)
    name = pictures.COLUMN if target != pictures.COLUMN else f"{pictures.COLUMN}_"
    return _schema(of, {name: column})


def _alone(
    frame: pd.DataFrame,
    names: list[str],
    name: str,
    only: Column,
    of: ClassTarget | ValueTarget,
    notes: tuple[str, ...],
) -> Examined:
    columns: dict[str, Column] = {other: IgnoredColumn() for other in names}
    columns[name] = only
    found = tuple(
        ColumnFound(other, only.kind, True)
        if other == name
        else ColumnFound(
            other, "ignore", False, f"a model of {only.kind} learns from one column",
            _sample(frame[other]),
        )
        for other in names
    )  # fmt: skip
    return Examined(_schema(of, columns), found, notes)


def _schema(target: ClassTarget | ValueTarget, columns: dict[str, Column]) -> Schema:
    return Schema(extra_columns="ignore", target=target, columns=columns)


def column_of(column: pd.Series[Any], name: str = "", asked: ColumnKind | None = None) -> Column:
    """The kind of one column: number, category, time or, where it is none of them, ignored."""
    return _column(column, name, asked)[0]


def _column(
    column: pd.Series[Any], name: str, asked: ColumnKind | None = None
) -> tuple[Column, ColumnFound]:
    """A column, and why it is learned from or left out."""
    sample = _sample(column)

    def out(reason: str, hint: str | None = None) -> tuple[Column, ColumnFound]:
        return IgnoredColumn(), ColumnFound(name, "ignore", False, reason, sample, hint)

    if asked == "ignore":
        return out("as --ignore says")
    if sample is None:
        return out("has no values")
    if not _scalars(column):
        return out("holds lists or records", "--kind sequence --column " + name)
    found = guess.numbers(column, asked == "number") if asked in (None, "number") else None
    if found is not None and (found.certain or asked == "number"):
        return _number(column, name, found.format, sample, asked is not None)
    if asked == "number":
        raise UsageError(f"column {name!r} holds no numbers, but such as {sample!r}")
    time = guess.times(column, asked == "time") if asked in (None, "time") else None
    if isinstance(time, str):
        return out(time, f"--time {name}")
    if time is not None:
        seconds, wrong = values.as_times(column, time)
        made = TimeColumn.model_validate(
            {
                "nullable": bool((np.isnan(seconds) & ~wrong).any()),
                **time.to_json(),
                "sees": guess.seen(seconds),
            }
        )
        return made, ColumnFound(name, "time", True, time.words if time.format != "iso" else "")
    if asked == "time":
        raise UsageError(f"column {name!r} holds no dates or times, but such as {sample!r}")
    category = _words(column, asked)
    if found is not None and (category is None or "text such as" not in found.why):
        return out(found.why, f"--number {name}")
    if category is None:
        free = single_column.text(column)
        if free is not None:
            return out(f"free text; --kind text --column {name} learns from it alone")
        return out("nearly every value is another word")
    count = len(category.categories)
    detail = f"hashed to {category.buckets} codes" if category.buckets else (
        "true or false" if category.truth else f"{count} word{'s' * (count != 1)}"
    )  # fmt: skip
    return category, ColumnFound(name, "category", True, detail)


def _number(
    column: pd.Series[Any], name: str, form: NumberFormat, sample: str | None, asked: bool
) -> tuple[Column, ColumnFound]:
    numbers, wrong = values.as_numbers(column, form)
    finite = numbers[np.isfinite(numbers)]
    reason = None if asked else _counts(numbers, name)
    if not finite.size:
        reason = "has no number that is finite"
    if reason is not None:
        return IgnoredColumn(), ColumnFound(name, "ignore", False, reason, sample,
                                            f"--number {name}")  # fmt: skip
    made = NumberColumn(
        nullable=bool((np.isnan(numbers) & ~wrong).any()),
        **_written(form),
    )
    return made, ColumnFound(name, "number", True, form.words)


def _written(form: NumberFormat) -> dict[str, Any]:
    return {name: getattr(form, name) for name in ("decimal", "grouping", "unit", "missing")}


def _words(column: pd.Series[Any], asked: ColumnKind | None) -> CategoryColumn | None:
    """A category column; None: an enumeration repeats itself, names and free text do not."""
    counts = _counted(words.as_words(column))
    rows = counts.total()
    nullable = rows < len(column)
    truths = {words.TRUTH.get(word.lower()) for word in counts}
    spelled = {word.lower() for word in counts} <= {"true", "false"}
    # Truth values are a type, as numbers are: another word in their place is no new word.
    if truths <= {"False", "True"} and spelled:
        return CategoryColumn(nullable=nullable, unseen="refuse", categories=("False", "True"))
    if not counts:
        return None
    distinct, _ = one_spelling(counts)
    most = min(MOST_WORDS, max(FEW_WORDS, rows // 20), rows // 2)
    if asked == "category":
        most = MOST_WORDS
    if len(distinct) <= most:
        return CategoryColumn(nullable=nullable, categories=tuple(sorted(distinct)))
    repeated = rows >= REPEATED * len(distinct) and single_column.text(column) is None
    if repeated or asked == "category":
        return CategoryColumn(nullable=nullable, buckets=BUCKETS)
    return None


def _counted(column: values.Objects) -> Counter[str]:
    """How often each word is there, in the order in which they appear first."""
    counts = Counter(column.tolist())
    del counts[None]
    return counts


def one_spelling(counts: Mapping[str, int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Words without the rare other spellings of one of them, and a sentence for each of those.

    A spelling that is the same word by `words.folding`, in fewer than a tenth of the rows of its
    word, is the frequent one. More are words of their own.
    """
    groups: dict[str, list[str]] = {}
    for word in counts:
        groups.setdefault(words.folding(word), []).append(word)
    kept: list[str] = []
    notes: list[str] = []
    for spellings in groups.values():
        spellings.sort(key=lambda word: (-counts[word], word))
        total = sum(counts[word] for word in spellings)
        for place, word in enumerate(spellings):
            if place == 0 or counts[word] >= OTHER_SPELLING * total:
                kept.append(word)
                if place:
                    both = f"{spellings[0]!r} and {word!r}"
                    notes.append(
                        f"{both} are one word written in two ways: two classes; if they are one, "
                        "write it in one way in the file, and init again"
                    )
            else:
                notes.append(f"{word!r} ({counts[word]} rows) is read as {spellings[0]!r}")
    return tuple(kept), tuple(notes)


def _counts(numbers: values.Numbers, name: str) -> str | None:
    """Why whole numbers are those of rows or of things, and say nothing else; None: they may."""
    if len(numbers) < 3 or not np.isfinite(numbers).all() or (numbers % 1 != 0).any():
        return None
    steps = np.diff(numbers)
    if (steps == 1).all():
        return "counts the rows"
    if len(numbers) < MANY_ROWS:
        return None
    if (steps > 0).all():
        return "only grows"
    distinct = len(np.unique(numbers))
    if distinct == len(numbers) and np.ptp(numbers) < 1.5 * len(numbers):
        return "counts the rows, in another order"
    if distinct >= MOSTLY * len(numbers) and _ID.search(name):
        return "nearly another whole number in each row, as an id has"
    return None


MANY_ROWS = 20
"""With fewer rows, whole numbers may be all different by chance."""
_ID = re.compile(r"(?i)(^|[^a-z])(id|ids|uuid|guid|key|nr|no|number|num|code|index)$|[a-z](Id|ID)$")


def _sample(column: pd.Series[Any]) -> str | None:
    text = values.first_text(column)
    return text if text is None or len(text) <= 40 else text[:39] + "…"


def _scalars(column: pd.Series[Any]) -> bool:
    """Whether the values are more than lists and records written as text."""
    return column.dtype != object or not any(
        hasattr(v, "__len__") and not isinstance(v, str) for v in column.tolist()
    )


def _target(
    column: pd.Series[Any], name: str, task: Task | None, *, asked: bool = False
) -> tuple[ClassTarget | ValueTarget, tuple[str, ...]]:
    texts = values.as_text(column)
    present = np.array([text is not None for text in texts], dtype=bool)
    if not present.any():
        raise DataRefused(f"the target {name!r} has no values")
    labels, notes = _labels(column, present)
    found = guess.numbers(column, asked)
    if asked and found is None:
        raise UsageError(f"the target {name!r} holds no numbers, but such as {texts[present][0]!r}")
    form = found.format if found is not None and (found.certain or asked) else NumberFormat()
    numbers, wrong = values.as_numbers(column, form)
    numeric = wrong.sum() <= (1 - MOSTLY) * present.sum()
    if task is None and found is not None and not found.certain and not asked:
        many = len(labels) > FEW_WORDS and not numeric
        if many:
            raise UsageError(
                f"the target {name!r} may be a number or a class: {found.why}",
                hint=f"--number {name} or --task classification",
            )
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
        finite = numbers[np.isfinite(numbers)]
        if finite.size == 0 or finite.min() == finite.max():
            raise DataRefused(f"the target {name!r} has only one value: nothing to learn")
        notes = (f"target {name}: {form.words}",) if form.words else ()
        made = ValueTarget(
            name=name,
            **_written(form),
        )
        return made, notes
    if len(labels) > MOST_CLASSES:
        raise UsageError(
            f"the target {name!r} has {len(labels)} classes; the most is {MOST_CLASSES}",
            hint="--task regression" if numeric else None,
        )
    if len(labels) < 2:
        raise DataRefused(f"the target {name!r} has only one class, {labels[0]!r}")
    if isinstance(labels[0], bool):  # there is no third truth value
        return ClassTarget(name=name, classes=labels), notes
    return ClassTarget(
        name=name, classes=labels, new_classes="allow", min_class_rows=MIN_CLASS_ROWS
    ), notes


def _labels(
    column: pd.Series[Any], present: values.Mask
) -> tuple[tuple[Label, ...], tuple[str, ...]]:
    """The distinct labels, sorted; whole numbers and truth values where the column is such."""
    texts = _counted(words.as_words(column))
    if {text.lower() for text in texts} <= {"true", "false"}:
        return tuple(sorted({text.lower() == "true" for text in texts})), ()
    found, wrong = words.as_labels(column, int)
    if wrong.sum() <= (1 - MOSTLY) * present.sum():
        labels: list[Label] = sorted({label for label in found if label is not None})
        if labels:
            return tuple(labels), ()
    classes, notes = one_spelling(texts)
    return tuple(sorted(classes)), notes
