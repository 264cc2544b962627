"""What a schema says of a column, kind by kind, as frozen objects."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from perdure.reading import formats
from perdure.reading.formats import NumberFormat, TimeFormat
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


class Written(Ranged):
    """A number, and how it is written in text; see `perdure.reading.formats.NumberFormat`."""

    decimal: Literal[".", ","] = "."
    grouping: Literal["", ",", ".", "'", " "] = ""
    unit: Annotated[str, Field(max_length=20)] = ""
    missing: tuple[Annotated[str, Field(min_length=1, strict=True)], ...] = ()

    @model_validator(mode="after")
    def _marks_differ(self) -> Written:
        if self.grouping == self.decimal:
            raise ValueError(f"decimal and grouping are both {self.decimal!r}")
        if self.unit != self.unit.strip() or any(c.isdigit() for c in self.unit):
            raise ValueError(f"unit = {self.unit!r}: no digits, and no spaces around it")
        return self

    @property
    def format(self) -> NumberFormat:
        """How it is written."""
        return NumberFormat(self.decimal, self.grouping, self.unit, self.missing)


class NumberColumn(Written):
    """A number that the model sees; min and max are inclusive, None is no limit."""

    kind: Literal["number"] = "number"
    nullable: Annotated[bool, Field(strict=True)] = False


class TimeColumn(Section):
    """A date, or a date and a time, of which the model sees the cycles and the time that passed."""

    kind: Literal["time"] = "time"
    nullable: Annotated[bool, Field(strict=True)] = False
    format: Annotated[str, Field(min_length=1)] = formats.ISO
    """`iso`, `unix` (seconds since 1970), or as `strptime` has it, such as `%d.%m.%Y`."""
    zone: str = "UTC"
    sees: Annotated[tuple[Literal["elapsed", "year", "week", "day"], ...], Field(min_length=1)] = (
        "elapsed",
        "year",
        "week",
        "day",
    )

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("is no time zone; name one such as Europe/Berlin, or UTC") from error
        return value

    @model_validator(mode="after")
    def _parses(self) -> TimeColumn:
        if self.format not in (formats.ISO, formats.UNIX) and "%" not in self.format:
            raise ValueError(f'format = {self.format!r}: "iso", "unix", or such as "%d.%m.%Y"')
        if len(set(self.sees)) < len(self.sees):
            raise ValueError("sees has a word more than once")
        return self

    @property
    def format_of_times(self) -> TimeFormat:
        """How it is written."""
        return TimeFormat(self.format, self.zone)


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    doubles = sorted({value for value in values if values.count(value) > 1})
    if doubles:
        raise ValueError(f"more than once in the list: {', '.join(map(repr, doubles))}")
    return values


_Category = Annotated[str, Field(min_length=1, strict=True)]


class CategoryColumn(Section):
    """One of a list of words. `unseen`: whether a word outside the list is let through.

    Of very many words there is no list: each is hashed to one of `buckets` codes.
    """

    kind: Literal["category"] = "category"
    nullable: Annotated[bool, Field(strict=True)] = False
    unseen: Literal["allow", "refuse"] = "allow"
    categories: tuple[_Category, ...] = ()
    buckets: Annotated[int, Field(ge=0, le=2**20, strict=True)] = 0

    @property
    def truth(self) -> bool:
        """Whether the words are truth values, so that `true` and `TRUE` are `True`."""
        return set(self.categories) == {"False", "True"}

    @model_validator(mode="after")
    def _all_distinct(self) -> CategoryColumn:
        _distinct(self.categories)
        if not self.categories and not self.buckets:
            raise ValueError("categories = [...] is missing: the list of words, or buckets = 256")
        if self.categories and self.buckets:
            raise ValueError("buckets is for words without a list; remove buckets or categories")
        if self.buckets and self.unseen == "refuse":
            raise ValueError('unseen = "refuse" needs the list of words')
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
    NumberColumn
    | CategoryColumn
    | TimeColumn
    | ImageColumn
    | TextColumn
    | SequenceColumn
    | IgnoredColumn,
    Field(discriminator="kind"),
]
