"""The schema as frozen objects."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from perdure.config import Task

if TYPE_CHECKING:
    from perdure.strategies.features import FeatureSpec

Label = str | int | bool
_Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Ranged(_Section):
    min: _Finite | None = None
    max: _Finite | None = None

    @model_validator(mode="after")
    def _min_below_max(self) -> _Ranged:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {self.min} is above max = {self.max}")
        return self


class NumberColumn(_Ranged):
    """A number that the model sees; min and max are inclusive, None is no limit."""

    kind: Literal["number"] = "number"
    nullable: Annotated[bool, Field(strict=True)] = False


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    doubles = sorted({value for value in values if values.count(value) > 1})
    if doubles:
        raise ValueError(f"more than once in the list: {', '.join(map(repr, doubles))}")
    return values


_Category = Annotated[str, Field(min_length=1, strict=True)]


class CategoryColumn(_Section):
    """One of a list of words. `unseen`: whether a word outside the list is let through."""

    kind: Literal["category"] = "category"
    nullable: Annotated[bool, Field(strict=True)] = False
    unseen: Literal["allow", "refuse"] = "allow"
    categories: Annotated[tuple[_Category, ...], Field(min_length=1)]

    @property
    def truth(self) -> bool:
        """Whether the words are truth values, so that `true` and `TRUE` are `True`."""
        return set(self.categories) == {"False", "True"}

    @model_validator(mode="after")
    def _all_distinct(self) -> CategoryColumn:
        _distinct(self.categories)
        return self


class IgnoredColumn(_Section):
    """Kept in the data as text, not seen by the model, not checked."""

    kind: Literal["ignore"] = "ignore"


Column = Annotated[NumberColumn | CategoryColumn | IgnoredColumn, Field(discriminator="kind")]


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


class ClassTarget(_Section):
    """What a classification predicts: one of these labels, in the order of the outputs."""

    name: Annotated[str, Field(min_length=1)]
    task: Literal["classification"] = "classification"
    classes: Annotated[tuple[Any, ...], BeforeValidator(_labels)]


class ValueTarget(_Ranged):
    """What a regression predicts."""

    name: Annotated[str, Field(min_length=1)]
    task: Literal["regression"] = "regression"


class Schema(_Section):
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
    def features(self) -> tuple[str, ...]:
        """The columns that the model sees, in order."""
        return tuple(name for name, column in self.columns.items() if column.kind != "ignore")

    @property
    def names(self) -> tuple[str, ...]:
        """Every column of an accepted table, in order: the target is the last."""
        return (*self.columns, self.target.name)

    @cached_property
    def sha256(self) -> str:
        """Of the schema's meaning: comments and layout of the file do not change it."""
        value = self.model_dump(mode="json")
        value["columns"] = list(value["columns"].items())
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

    def feature_spec(self) -> FeatureSpec:
        """The features and labels as the model knows them (imports torch)."""
        from perdure.strategies import features

        columns = tuple(
            features.Column(name, "category", column.categories)
            if isinstance(column, CategoryColumn)
            else features.Column(name, "number")
            for name, column in self.columns.items()
            if not isinstance(column, IgnoredColumn)
        )
        labels = self.target.classes if isinstance(self.target, ClassTarget) else ()
        return features.FeatureSpec(columns, self.target.name, self.task, labels)
