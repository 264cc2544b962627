"""What a schema says of a column, kind by kind, as frozen objects."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from perdure.strategies.features.items import BYTES

_Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Section(BaseModel):
    """A section of the schema file; a key that it does not know is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Ranged(Section):
    """With limits, which are inclusive; None is no limit."""

    min: _Finite | None = None
    max: _Finite | None = None

    @model_validator(mode="after")
    def _min_below_max(self) -> Ranged:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {self.min} is above max = {self.max}")
        return self


class NumberColumn(Ranged):
    """A number that the model sees; min and max are inclusive, None is no limit."""

    kind: Literal["number"] = "number"
    nullable: Annotated[bool, Field(strict=True)] = False


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    doubles = sorted({value for value in values if values.count(value) > 1})
    if doubles:
        raise ValueError(f"more than once in the list: {', '.join(map(repr, doubles))}")
    return values


_Category = Annotated[str, Field(min_length=1, strict=True)]


class CategoryColumn(Section):
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


class IgnoredColumn(Section):
    """Kept in the data as text, not seen by the model, not checked."""

    kind: Literal["ignore"] = "ignore"


class ImageColumn(Section):
    """Images, each decoded and stretched to one size; the only feature."""

    kind: Literal["image"] = "image"
    height: Annotated[int, Field(ge=1, le=4096, strict=True)]
    width: Annotated[int, Field(ge=1, le=4096, strict=True)]
    channels: Literal[1, 3] = 3
    """1: grey; 3: red, green, blue."""


class TextColumn(Section):
    """Text, of which the model sees the first tokens; the only feature."""

    kind: Literal["text"] = "text"
    nullable: Annotated[bool, Field(strict=True)] = False
    tokenizer: Literal["words", "bytes"] = "words"
    length: Annotated[int, Field(ge=1, le=100_000, strict=True)] = 256
    vocabulary: Annotated[int, Field(ge=16, le=2**20, strict=True)] = 8192
    embedding: Annotated[int, Field(ge=1, le=1024, strict=True)] = 64

    @model_validator(mode="before")
    @classmethod
    def _of_bytes(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("tokenizer") == "bytes":
            return {"vocabulary": BYTES, **value}
        return value

    @model_validator(mode="after")
    def _bytes_are_so_many(self) -> TextColumn:
        if self.tokenizer == "bytes" and self.vocabulary != BYTES:
            raise ValueError(f"vocabulary = {self.vocabulary}: there are {BYTES} bytes")
        return self


class SequenceColumn(Ranged):
    """Numbers in order, of which the model sees the last; the only feature."""

    kind: Literal["sequence"] = "sequence"
    nullable: Annotated[bool, Field(strict=True)] = False
    length: Annotated[int, Field(ge=1, le=100_000, strict=True)]


WHOLE = ("image", "text", "sequence")
"""Kinds of which one column is all that a model sees."""

Column = Annotated[
    NumberColumn | CategoryColumn | ImageColumn | TextColumn | SequenceColumn | IgnoredColumn,
    Field(discriminator="kind"),
]
