"""The schema as frozen objects."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from perdure.config import Task
from perdure.tasks.tables.columns import (
    CategoryColumn,
    Column,
    IgnoredColumn,
    ImageColumn,
    NumberColumn,
    Section,
    SequenceColumn,
    TextColumn,
    TimeColumn,
    Written,
)

if TYPE_CHECKING:
    from perdure.strategies.features.columns import Column as FeatureColumn
    from perdure.strategies.features.columns import FeatureSpec

Label = str | int | bool
_LATER: dict[str, Any] = {
    "decimal": ".",
    "grouping": "",
    "unit": "",
    "missing": [],
    "buckets": 0,
}
"""Keys that came later: with these values a schema means what it meant before."""


def _labels(value: Any) -> Any:
    """All of one type: text, whole numbers of 64 bits, or truth values."""
    if not isinstance(value, (list, tuple)):
        raise ValueError("must be a list")
    kinds = {type(item) for item in value}
    if not kinds <= {str, int, bool} or len(kinds) > 1:
        raise ValueError("must be all text, all whole numbers or all true and false")
    if len(set(value)) != len(value):
        raise ValueError("has a class more than once")
    if len(value) < 2:
        raise ValueError(f"has {len(value)} classes; the least is 2")
    if kinds == {int} and any(abs(item) >= 10**18 for item in value):
        raise ValueError("has a whole number of more than 18 digits; write the classes as text")
    if kinds == {str} and "" in value:
        raise ValueError("has an empty text; an empty field is a missing value")
    return tuple(value)


class ClassTarget(Section):
    """What a classification predicts: one of these labels, in the order of the outputs."""

    name: Annotated[str, Field(min_length=1)]
    task: Literal["classification"] = "classification"
    classes: Annotated[tuple[Any, ...], BeforeValidator(_labels)]
    new_classes: Literal["refuse", "allow"] = "refuse"
    """Whether a row may have a class that is not listed; the model gets an output for it."""
    min_class_rows: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] = 1
    """With so many rows a class that is not listed is let in; fewer are set aside until then."""
    max_classes: Annotated[int, Field(ge=2, le=100_000, strict=True)] = 1_000
    """An experience with which the model would have more is refused."""


class ValueTarget(Written):
    """What a regression predicts."""

    name: Annotated[str, Field(min_length=1)]
    task: Literal["regression"] = "regression"


class Schema(Section):
    """What a file must look like, and what becomes of one that does not.

    Attributes:
        on_bad_row: `rows` sets the refused rows aside and keeps the rest; `file` refuses all.
        max_bad_share: Beyond this share of refused rows the file is refused whole.
        extra_columns: What becomes of a file with columns that are not listed.
        target: What is predicted; missing or unknown values of it are always refused.
        columns: All other columns by name, in the order in which the model sees them.
    """

    on_bad_row: Literal["rows", "file"] = "rows"
    max_bad_share: Annotated[float, Field(ge=0.0, le=1.0, strict=True)] = 0.5
    extra_columns: Literal["refuse", "ignore"] = "refuse"
    target: Annotated[ClassTarget | ValueTarget, Field(discriminator="task")]
    columns: Annotated[dict[str, Column], Field(min_length=1)]

    @property
    def task(self) -> Task:
        """Classification or regression."""
        return self.target.task

    @property
    def max_classes(self) -> int | None:
        """The most classes that a model may come to have; None of a regression."""
        return self.target.max_classes if isinstance(self.target, ClassTarget) else None

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that the model sees, in order."""
        return tuple(name for name, column in self.columns.items() if column.kind != "ignore")

    @property
    def kind(self) -> Literal["table", "image", "text", "sequence"]:
        """Table (numbers and categories), or the kind of the one column that the model sees."""
        for column in self.columns.values():
            if isinstance(column, (ImageColumn, TextColumn, SequenceColumn)):
                return column.kind
        return "table"

    @property
    def names(self) -> tuple[str, ...]:
        """Every column of an accepted table, in order: the target is the last."""
        return (*self.columns, self.target.name)

    @property
    def form(self) -> str:
        """Digest of names and kinds of what the model sees: rows of one form suit one model."""
        kinds = [
            (name, column.kind, *((column.height, column.width, column.channels)
             if isinstance(column, ImageColumn) else ()))
            for name, column in self.columns.items()
            if not isinstance(column, IgnoredColumn)
        ]  # fmt: skip
        label = type(self.target.classes[0]) if isinstance(self.target, ClassTarget) else float
        value = [kinds, self.target.name, label.__name__]
        return hashlib.sha256(json.dumps(value).encode()).hexdigest()

    @cached_property
    def sha256(self) -> str:
        """Digest of the schema's meaning: comments and layout of the file do not change it."""
        value = self.model_dump(mode="json")
        value["columns"] = list(value["columns"].items())
        if value["target"].get("min_class_rows") == 1:  # as before there was such a key
            del value["target"]["min_class_rows"]
        for section in (value["target"], *(column for _, column in value["columns"])):
            for key, usual in _LATER.items():
                if section.get(key) == usual:
                    del section[key]
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

    def feature_spec(self) -> FeatureSpec:
        """The features and labels as the model knows them (imports torch)."""
        from perdure.strategies.features import columns as features

        columns = tuple(
            _feature(name, column)
            for name, column in self.columns.items()
            if not isinstance(column, IgnoredColumn)
        )
        labels = self.target.classes if isinstance(self.target, ClassTarget) else ()
        return features.FeatureSpec(columns, self.target.name, self.task, labels)


def _feature(name: str, column: Column) -> FeatureColumn:
    from perdure.strategies.features import columns as features

    if isinstance(column, CategoryColumn):
        return features.Column(name, "category", column.categories, buckets=column.buckets)
    if isinstance(column, TimeColumn):
        return features.Column(name, "time", time=column.format_of_times, sees=column.sees)
    if isinstance(column, ImageColumn):
        return features.Column(name, "image", shape=(column.height, column.width, column.channels))
    if isinstance(column, SequenceColumn):
        return features.Column(name, "sequence", length=column.length)
    if isinstance(column, TextColumn):
        return features.Column(
            name,
            "text",
            length=column.length,
            vocabulary=column.vocabulary,
            tokenizer=column.tokenizer,
            width=column.embedding,
        )
    assert isinstance(column, NumberColumn)
    return features.Column(name, "number", format=column.format)
