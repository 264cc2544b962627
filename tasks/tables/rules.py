"""What a schema asks of each value, and the values that do not comply."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from perdure.strategies.features import items
from perdure.tasks.tables import values
from perdure.tasks.tables.columns import (
    CategoryColumn,
    IgnoredColumn,
    ImageColumn,
    NumberColumn,
    SequenceColumn,
    TextColumn,
)
from perdure.tasks.tables.model import ClassTarget, Label, ValueTarget

if TYPE_CHECKING:
    import pandas as pd

Kind = (
    NumberColumn
    | CategoryColumn
    | ImageColumn
    | TextColumn
    | SequenceColumn
    | IgnoredColumn
    | ClassTarget
    | ValueTarget
)


class Finding(NamedTuple):
    """What is wrong with one value; `rule` is the reason without the value."""

    row: int
    column: str
    value: str | None
    reason: str
    rule: str


def canonical(column: pd.Series[Any], kind: Kind) -> tuple[pd.Series[Any], values.Mask]:
    """A column in its canonical type, and where a value is not of that type."""
    import pandas as pd

    wrong = np.zeros(len(column), dtype=bool)
    if isinstance(kind, (NumberColumn, ValueTarget)):
        numbers, wrong = values.as_numbers(column)
        return pd.Series(numbers + 0.0, index=column.index), wrong
    if isinstance(kind, ClassTarget):
        objects, wrong = values.as_labels(column, type(kind.classes[0]))
    elif isinstance(kind, ImageColumn):
        objects = np.empty(len(column), dtype=object)
        objects[:] = [picture.pixels for picture in column.tolist()]
        wrong = np.array([pixels is None for pixels in objects], dtype=bool)
    elif isinstance(kind, SequenceColumn):
        objects, wrong = values.as_sequences(column)
    elif isinstance(kind, TextColumn):
        objects = values.as_texts(column)
    else:
        objects = values.as_text(column)
        if isinstance(kind, CategoryColumn) and kind.truth:
            objects = values.as_truth_words(objects)
    # dtype=object, or pandas 3 makes text a `str` column and None a NaN.
    return pd.Series(objects, index=column.index, dtype=object), wrong


def labels_typed(column: pd.Series[Any], kind: ClassTarget) -> pd.Series[Any]:
    """Labels without missing ones, in the type of the classes."""
    of = type(kind.classes[0])
    return column if of is str else column.astype(np.bool_ if of is bool else np.int64)


def known_classes(kind: ClassTarget, labels: Collection[Label]) -> tuple[Label, ...]:
    """The listed classes, then the others that are known."""
    return tuple(dict.fromkeys((*kind.classes, *labels)))


def few_rows(
    labels: pd.Series[Any],
    texts: values.Objects,
    name: str,
    kind: ClassTarget,
    known: Sequence[Label],
) -> Iterator[Finding]:
    """A finding for each row of a new class that has too few rows.

    The reason depends on the file alone, not on what was gathered before: the same file gives the
    same reasons.
    """
    counts = labels.value_counts()
    near = {label: resembling(label, known) for label in counts.index}
    for row, text, label in zip(labels.index, texts, labels.tolist(), strict=True):
        rows = "1 row" if counts[label] == 1 else f"{counts[label]} rows"
        what = f"is a new class with {rows} in this file; the least is {kind.min_class_rows}"
        if near[label] is not None:
            what += f" (a typing error for {near[label]!r}?)"
        yield Finding(
            int(row), name, text, f"{name} = {_shown(text, kind)} {what}", f"{label!r} {what}"
        )


def resembling(label: Label, known: Sequence[Label]) -> Label | None:
    """The known class that a new one may be a typing error for; None: there is none.

    Of text alone: the closest by `difflib`'s ratio of matching characters, at least 0.6, with
    differences in case and in outer spaces not counted. Numbers resemble none.
    """
    if not isinstance(label, str):
        return None
    plain = {str(one).strip().casefold(): one for one in known}
    near = difflib.get_close_matches(label.strip().casefold(), plain, n=1)
    return plain[near[0]] if near else None


def wrong_types(
    column: pd.Series[Any], name: str, kind: Kind, wrong: values.Mask
) -> Iterator[Finding]:
    """A finding for each value that is not of its column's type."""
    if not wrong.any():
        return
    what = "is not a number"
    if isinstance(kind, ClassTarget):
        what = f"is not one of the classes {_listed(kind.classes)}"
        if kind.new_classes == "allow":
            what = f"is not of the same type as the classes {_listed(kind.classes)}"
    bad = column[wrong]
    texts = values.as_text(bad)
    for row, text, value in zip(bad.index, texts, bad.tolist(), strict=True):
        shown, rule = _shown(text, kind), what
        if isinstance(kind, ImageColumn):
            what, rule = value.fault, "cannot be used"
        elif isinstance(kind, SequenceColumn):
            what, rule = _no_sequence(value), "is no list of numbers"
        yield Finding(int(row), name, text, f"{name} = {shown} {what}", rule)


def _no_sequence(value: Any) -> str:
    try:
        items.numbers(value)
    except ValueError as error:
        return f"is no list of numbers: {error}"
    return "is no list of numbers"


def broken_rules(
    frame: pd.DataFrame,
    typed: pd.DataFrame,
    kinds: dict[str, Kind],
    known: set[tuple[int, str]],
) -> Iterator[Finding]:
    """What pandera finds in the typed columns; each value's first broken rule only."""
    import pandera.pandas as pandera

    rules = {name: _rules(kind) for name, kind in kinds.items()}
    for name, kind in kinds.items():
        if isinstance(kind, SequenceColumn):
            yield from _broken_limits(frame[name], typed[name], name, kind, known)
    model = pandera.DataFrameSchema(
        {
            name: pandera.Column(
                None,
                nullable=not isinstance(kind, (ClassTarget, ValueTarget))
                and (isinstance(kind, IgnoredColumn) or getattr(kind, "nullable", False)),
                checks=[pandera.Check(test, name=what) for what, test in rules[name].items()],
            )
            for name, kind in kinds.items()
        }
    )
    try:
        model.validate(typed, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        cases = errors.failure_cases
        if cases["index"].isna().any():  # a check itself failed: ours to mend, not the data's
            raise
        texts = {name: values.as_text(frame[name]) for name in cases["column"].unique()}
        at = {row: i for i, row in enumerate(frame.index)}
        for row, name, what in zip(cases["index"], cases["column"], cases["check"], strict=True):
            if (int(row), name) in known:
                continue
            known.add((int(row), name))
            text = texts[name][at[int(row)]]
            if what == "not_nullable":
                yield Finding(int(row), name, text, f"{name} is missing", "is missing")
            else:
                shown = _shown(text, kinds[name])
                yield Finding(int(row), name, text, f"{name} = {shown} {what}", what)


def _broken_limits(
    column: pd.Series[Any],
    typed: pd.Series[Any],
    name: str,
    kind: SequenceColumn,
    known: set[tuple[int, str]],
) -> Iterator[Finding]:
    """The first number of each sequence that is below the minimum or above the maximum."""
    for row, sequence, value in zip(typed.index, typed, column, strict=True):
        if sequence is None:
            continue
        low = kind.min is not None and sequence < kind.min
        high = kind.max is not None and sequence > kind.max
        places = np.flatnonzero(low | high)
        if not places.size:
            continue
        place = int(places[0])
        below = kind.min is not None and sequence[place] < kind.min
        limit, edge = (kind.min, "below the minimum") if below else (kind.max, "above the maximum")
        known.add((int(row), name))
        text = values.as_text(typed.loc[[row]])[0] if not isinstance(value, str) else value
        yield Finding(
            int(row),
            name,
            text,
            f"{name} has item {place + 1} = {sequence[place]:g}, {edge} {limit:g}",
            f"has an item {edge} {limit:g}",
        )


def _rules(kind: Kind) -> dict[str, Any]:
    """What to say of a value, to the test that tells the good ones."""
    if isinstance(kind, (NumberColumn, ValueTarget)):
        rules: dict[str, Any] = {"is not finite": lambda s: np.isfinite(s)}
        if kind.min is not None:
            rules[f"is below the minimum {kind.min:g}"] = lambda s: s >= kind.min
        if kind.max is not None:
            rules[f"is above the maximum {kind.max:g}"] = lambda s: s <= kind.max
        return rules
    if isinstance(kind, ClassTarget):
        if kind.new_classes == "allow":
            return {}
        return {
            f"is not one of the classes {_listed(kind.classes)}": lambda s: s.isin(kind.classes)
        }
    if isinstance(kind, CategoryColumn) and kind.unseen == "refuse":
        return {f"is not one of {_listed(kind.categories)}": lambda s: s.isin(kind.categories)}
    return {}


def _listed(words: tuple[Any, ...], most: int = 8) -> str:
    shown = ", ".join(repr(word) for word in words[:most])
    return shown + (f" … ({len(words)} in all)" if len(words) > most else "")


def _shown(text: str | None, kind: Kind, most: int = 60) -> str:
    text = "" if text is None else text
    cut = text if len(text) <= most else text[:most] + "…"
    plain = isinstance(kind, (NumberColumn, ValueTarget)) and values.is_number(text)
    return cut if plain else repr(cut)
