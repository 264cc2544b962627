"""What a schema asks of each value, and the values that do not comply."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from perdure.reading import rules, values, words
from perdure.reading.rules import Rules, listed
from perdure.strategies.features import items
from perdure.tasks.tables.columns import (
    CategoryColumn,
    IgnoredColumn,
    ImageColumn,
    NumberColumn,
    SequenceColumn,
    TextColumn,
    TimeColumn,
)
from perdure.tasks.tables.definition import ClassTarget, Label, Schema, ValueTarget
from perdure.tasks.tables.sequences import as_sequences

if TYPE_CHECKING:
    import pandas as pd

Kind = (
    NumberColumn
    | CategoryColumn
    | ImageColumn
    | TextColumn
    | TimeColumn
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


def canonical(
    column: pd.Series[Any], kind: Kind, known: Sequence[Label] = ()
) -> tuple[pd.Series[Any], values.Mask]:
    """A column in its canonical type, and where a value is not of that type.

    Args:
        column: As it stands in the file.
        kind: What the schema says of it.
        known: Of a target, the classes that the schema does not list but a model knows.
    """
    import pandas as pd

    wrong = np.zeros(len(column), dtype=bool)
    if isinstance(kind, (NumberColumn, ValueTarget)):
        numbers, wrong = values.as_numbers(column, kind.format)
        return pd.Series(numbers + 0.0, index=column.index), wrong
    if isinstance(kind, TimeColumn):
        times, wrong = values.as_times(column, kind.format_of_times)
        return pd.Series(times, index=column.index), wrong
    if isinstance(kind, ClassTarget):
        classes = known_classes(kind, known)
        objects, wrong = words.as_labels(column, type(kind.classes[0]), classes)
    elif isinstance(kind, ImageColumn):
        objects = np.empty(len(column), dtype=object)
        objects[:] = [picture.pixels for picture in column.tolist()]
        wrong = np.array([pixels is None for pixels in objects], dtype=bool)
    elif isinstance(kind, SequenceColumn):
        objects, wrong = as_sequences(column)
    elif isinstance(kind, TextColumn):
        objects = values.as_texts(column)
    elif isinstance(kind, CategoryColumn):
        objects = words.as_words(column, kind.categories, truth=kind.truth)
    else:
        objects = values.as_text(column)
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
    what = rules.NOT_A_NUMBER
    if isinstance(kind, TimeColumn):
        what = f"is not {kind.format_of_times.words}"
    if isinstance(kind, ClassTarget):
        what = f"is not one of the classes {listed(kind.classes)}"
        if kind.new_classes == "allow":
            what = f"is not of the same type as the classes {listed(kind.classes)}"
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
    """What breaks a rule in the typed columns; each value's first broken rule only."""
    rows_of = frame.index.to_numpy()
    at = {row: place for place, row in enumerate(rows_of.tolist())} if known else {}
    done: dict[str, list[int]] = {}
    for row, column in known:
        done.setdefault(column, []).append(at[row])
    for name, kind in kinds.items():
        if isinstance(kind, SequenceColumn):
            yield from _broken_limits(frame[name], typed[name], name, kind, known)
        wrong = np.zeros(len(frame), dtype=bool)
        wrong[done.get(name, [])] = True
        texts = None
        for rows, what in _broken(typed[name], wrong, kind):
            texts = values.as_text(frame[name]) if texts is None else texts
            for place in np.flatnonzero(rows):
                row, text = int(rows_of[place]), texts[place]
                known.add((row, name))
                reason = rules.sentence(name, text, what, numeric=_numeric(kind))
                yield Finding(row, name, text, reason, what)


def _broken(
    typed: pd.Series[Any], wrong: values.Mask, kind: Kind
) -> Iterator[tuple[values.Mask, str]]:
    if isinstance(kind, ClassTarget):
        yield from rules.broken(typed.to_numpy(dtype=object), wrong, Rules(nullable=False))
        if kind.new_classes == "refuse":
            strange = ~typed.isin(kind.classes).to_numpy() & ~typed.isna().to_numpy() & ~wrong
            if strange.any():
                yield strange, f"is not one of the classes {listed(kind.classes)}"
        return
    typed_as = np.float64 if _numeric(kind) or isinstance(kind, TimeColumn) else object
    found = typed.to_numpy(dtype=typed_as)
    yield from rules.broken(found, wrong, rules_of(kind))


def rules_of(kind: Kind) -> Rules:
    """What is asked of a value beside its kind; see `perdure.reading.rules`."""
    if isinstance(kind, (IgnoredColumn, ImageColumn)):
        return Rules()
    nullable = getattr(kind, "nullable", False)
    if isinstance(kind, (NumberColumn, ValueTarget)):
        return Rules(nullable, kind.min, kind.max)
    if isinstance(kind, CategoryColumn) and kind.unseen == "refuse":
        return Rules(nullable, words=kind.categories)
    return Rules(nullable)


def rules_of_features(schema: Schema) -> dict[str, Rules]:
    """What is asked of the values of each column that the model sees, by its name."""
    return {name: rules_of(schema.columns[name]) for name in schema.features}


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


def _numeric(kind: Kind) -> bool:
    return isinstance(kind, (NumberColumn, ValueTarget))


def _shown(text: str | None, kind: Kind) -> str:
    return rules.shown(text, plain=_numeric(kind) and values.is_number(text or ""))
