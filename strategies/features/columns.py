"""Features: which columns there are, of which kind, and the vocabulary of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt

from perdure.config import Task
from perdure.reading.formats import CYCLES, ISO_UTC, PLAIN, SEEN, NumberFormat, TimeFormat
from perdure.strategies.features.items import BYTES, Tokenizer

Array = npt.NDArray[Any]
Columns = Mapping[str, Array]
"""Column name to values, all of one length. Numbers are floats with NaN for missing;
categories and texts are strings with None or NaN for missing; images are bytes of uint8 pixels
in the order (height, width, channels), or one uint8 array (rows, height, width, channels);
sequences are lists or arrays of numbers, None for missing."""

Kind = Literal["table", "image", "text", "sequence"]

MISSING, UNSEEN, FIRST = 0, 1, 2
"""Codes of a category column: no value, a value that the vocabulary lacks, its first entry."""

KINDS = ("number", "category", "time", "image", "text", "sequence")
"""Of a column."""
_WHOLE = ("image", "text", "sequence")
"""Kinds of which one column is all that a model sees."""


@dataclass(frozen=True)
class Column:
    """One feature: a number, a category, a time, an image, a text or a sequence of numbers."""

    name: str
    kind: Literal["number", "category", "time", "image", "text", "sequence"]
    categories: tuple[str, ...] = ()
    """For a category: its vocabulary."""
    shape: tuple[int, int, int] = (0, 0, 0)
    """For an image: height, width, and 1 (grey) or 3 (red, green, blue) channels."""
    length: int = 0
    """For a text: how many tokens, from the first, are seen. Of a sequence: how many numbers,
    the last."""
    vocabulary: int = 0
    """For a text: how many codes there are, beside that of padding."""
    tokenizer: Tokenizer = "words"
    width: int = 0
    """For a text: numbers that stand for a token in the network."""
    format: NumberFormat = PLAIN
    """For a number: how it is written in text."""
    buckets: int = 0
    """For a category without a vocabulary: codes that its words are hashed to."""
    time: TimeFormat = ISO_UTC
    """For a time: how it is written, and its zone."""
    sees: tuple[str, ...] = ()
    """For a time: what the network sees of it, some of `perdure.reading.formats.SEEN`."""

    def __post_init__(self) -> None:
        if self.kind == "image" and (min(self.shape) < 1 or self.shape[2] not in (1, 3)):
            raise ValueError(f"{self.name}: no shape of images: {self.shape}")
        if self.kind in ("text", "sequence") and self.length < 1:
            raise ValueError(f"{self.name}: length = {self.length}; the least is 1")
        if self.kind == "text" and min(self.vocabulary, self.width) < 1:
            raise ValueError(f"{self.name}: vocabulary and width must be at least 1")
        if self.kind == "text" and self.tokenizer == "bytes" and self.vocabulary != BYTES:
            raise ValueError(f"{self.name}: the vocabulary of bytes is {BYTES}")
        if self.kind == "time" and not (self.sees and set(self.sees) <= set(SEEN)):
            raise ValueError(f"{self.name}: sees = {self.sees}; choose of {SEEN}")

    @property
    def truth(self) -> bool:
        """For a category: whether its words are truth values, whose spellings are many."""
        return set(self.categories) == {"False", "True"}

    @property
    def words(self) -> int:
        """For a category: how many words the network can distinguish."""
        return self.buckets or len(self.categories)

    def to_json(self) -> dict[str, Any]:
        """What matters to its kind, as plain JSON values."""
        value: dict[str, Any] = {"name": self.name, "kind": self.kind}
        if self.kind == "image":
            return {**value, "shape": list(self.shape)}
        if self.kind == "sequence":
            return {**value, "length": self.length}
        if self.kind == "text":
            names = ("length", "vocabulary", "tokenizer", "width")
            return {**value, **{name: getattr(self, name) for name in names}}
        if self.kind == "time":
            return {**value, **self.time.to_json(), "sees": list(self.sees)}
        value["categories"] = list(self.categories)
        if self.format != PLAIN:
            value["format"] = self.format.to_json()
        return {**value, "buckets": self.buckets} if self.buckets else value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Column:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        name, kind = str(value["name"]), value["kind"]
        if kind not in KINDS:
            raise ValueError(f"{name}: no kind of column: {kind!r:.80}")
        if kind == "image":
            height, width, channels = map(int, value["shape"])
            return cls(name, kind, shape=(height, width, channels))
        if kind == "sequence":
            return cls(name, kind, length=int(value["length"]))
        if kind == "text":
            return cls(
                name,
                kind,
                length=int(value["length"]),
                vocabulary=int(value["vocabulary"]),
                tokenizer=value["tokenizer"],
                width=int(value["width"]),
            )
        if kind == "time":
            sees = tuple(map(str, value["sees"]))
            return cls(name, kind, time=TimeFormat.from_json(value), sees=sees)
        return cls(
            name,
            kind,
            tuple(map(str, value["categories"])),
            format=NumberFormat.from_json(value.get("format", {})),
            buckets=int(value.get("buckets", 0)),
        )


@dataclass(frozen=True)
class FeatureSpec:
    """The features in their order, the target, and the vocabulary of each."""

    columns: tuple[Column, ...]
    target: str
    task: Task
    labels: tuple[str | int | bool, ...] = ()
    """Labels of a classification, in the order of the network's outputs."""

    def __post_init__(self) -> None:
        whole = [column.name for column in self.columns if column.kind in _WHOLE]
        if whole and len(self.columns) > 1:
            raise ValueError(f"{whole[0]} must be the only feature; there are {len(self.columns)}")

    @property
    def kind(self) -> Kind:
        """Table (numbers and categories), or the kind of the one column."""
        kind = self.columns[0].kind if self.columns else "number"
        return "table" if kind == "number" or kind == "category" or kind == "time" else kind

    @property
    def numbers(self) -> tuple[int, ...]:
        """Positions of the number columns."""
        return tuple(i for i, c in enumerate(self.columns) if c.kind == "number")

    @property
    def times(self) -> tuple[int, ...]:
        """Positions of the time columns."""
        return tuple(i for i, c in enumerate(self.columns) if c.kind == "time")

    @property
    def plain(self) -> int:
        """Numbers of a row, and marks of what is missing, that `Prepare` gives before the codes."""
        seen = sum(len(self.columns[i].sees) for i in self.times)
        cycles = sum(len(set(self.columns[i].sees) & set(CYCLES)) for i in self.times)
        return 2 * len(self.numbers) + seen + cycles + len(self.times)

    @property
    def values(self) -> int:
        """Numbers, and values seen of times, that `Prepare` gives of a row before all else."""
        return self.plain - len(self.numbers) - len(self.times)

    @property
    def categories(self) -> tuple[int, ...]:
        """Positions of the category columns."""
        return tuple(i for i, c in enumerate(self.columns) if c.kind == "category")

    @property
    def outputs(self) -> int:
        """Outputs of the network: one per label, or one value."""
        return len(self.labels) if self.task == "classification" else 1

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back."""
        return {
            "columns": [column.to_json() for column in self.columns],
            "target": self.target,
            "task": self.task,
            "labels": list(self.labels),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FeatureSpec:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        columns = tuple(map(Column.from_json, value["columns"]))
        task, labels = value["task"], tuple(value["labels"])
        if task not in ("classification", "regression"):
            raise ValueError(f"no task: {task!r:.80}")
        if not all(isinstance(label, (str, int, bool)) for label in labels):
            raise TypeError("a label is no text, whole number or truth value")
        return cls(columns, str(value["target"]), task, labels)
