"""What a file has that the schema does not, and what of it can be taken into the schema."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure.reading import values
from perdure.records.schema import Difference
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
from perdure.tasks.tables.edit import Editor
from perdure.tasks.tables.infer import column_of
from perdure.tasks.tables.render import toml_item, toml_section
from perdure.tasks.tables.rules import Kind, canonical, resembling

if TYPE_CHECKING:
    import pandas as pd

SAMPLES = 5
"""So many values are shown of a difference."""


def differences(frame: pd.DataFrame, schema: Schema) -> tuple[Difference, ...]:
    """Compare a table with the schema.

    Args:
        frame: As `read.read` gives it.
        schema: The schema.

    Returns:
        What the table has and the schema does not, by column in the file's order, then the
        columns that it lacks. Empty: there is no difference.
    """
    kinds: dict[str, Kind] = {**schema.columns, schema.target.name: schema.target}
    found: list[Difference] = []
    for name in map(str, frame.columns):
        if name not in kinds:
            found.append(_new_column(name, frame[name]))
        else:
            found += _in_column(name, frame[name], kinds[name])
    missing = [name for name in kinds if name not in set(map(str, frame.columns))]
    return (*found, *(Difference("missing column", name, len(frame)) for name in missing))


def accepted(
    text: str,
    path: str,
    schema: Schema,
    frame: pd.DataFrame,
    found: Iterable[Difference],
    learned: bool,
) -> tuple[str, tuple[Difference, ...]]:
    """Take into the text of a schema what is new in a file.

    New classes are added to the list, and missing values are let through. New columns are kept, and
    ignored: a learner keeps its inputs, and earlier experiences lack the column. New words are
    added to the list as long as nothing has been learned; after that they stay unseen. Limits stay
    as they are.

    Args:
        text: Of `schema.toml`.
        path: Of `schema.toml`, for messages.
        schema: What it says.
        frame: The file, as `read.read` gives it.
        found: The differences.
        learned: Whether there is a version, whose inputs must stay.

    Returns:
        The new text; and the differences, each with whether it was taken, and why not.

    Raises:
        UsageError: The text is laid out in a way that cannot be edited; nothing is changed.
    """
    editor, shown = Editor(text), []
    columns, target = dict(schema.columns), schema.target
    for one in found:
        taken, why = True, one.note
        column = columns.get(one.column)
        if one.what == "new column":
            taken, why = schema.kind != "image", _column_note(one, schema)
            if taken:
                columns[one.column] = IgnoredColumn()
                comment = "".join(f"# {line}\n" for line in textwrap.wrap(why, 96))
                editor.append(comment + toml_section(one.column, IgnoredColumn()))
        elif one.what == "new class" and isinstance(target, ClassTarget):
            label = _label(one, frame, target)
            classes = (*target.classes, label)
            editor.extend(("target",), "classes", target.classes, [toml_item(label)])
            target = target.model_copy(update={"classes": classes})
        elif one.what == "new words" and isinstance(column, CategoryColumn):
            if learned or column.truth:
                taken, why = False, _words_note(column)
            else:
                words = _new_words(frame[one.column], column)
                place = ("columns", one.column)
                editor.extend(place, "categories", column.categories, map(toml_item, words))
                columns[one.column] = column.model_copy(
                    update={"categories": (*column.categories, *words)}
                )
        elif one.what == "missing values" and isinstance(
            column, (NumberColumn, CategoryColumn, TimeColumn, TextColumn, SequenceColumn)
        ):
            editor.set(("columns", one.column), "nullable", "true")
            columns[one.column] = column.model_copy(update={"nullable": True})
        else:
            taken, why = False, _NOT_TAKEN.get(one.what, "it must be settled by hand")
        shown.append(Difference(one.what, one.column, one.rows, one.kind, one.values, taken, why))
    wanted = schema.model_copy(update={"columns": columns, "target": target})
    return (editor.result(wanted, path) if any(t.taken for t in shown) else text), tuple(shown)


_NOT_TAKEN = {
    "outside limits": "limits that a person wrote stay: move min or max in schema.toml, or remove "
    "the line",
    "missing column": "a file must have every column of the schema; remove its section by hand, "
    "and give the model another name if it was no ignored one",
    "wrong type": "a column has one kind; mend the file",
    "missing values": "a row without the target teaches nothing",
}


def _column_note(one: Difference, schema: Schema) -> str:
    if schema.kind == "image":
        return "images have no other column"
    note = "kept in the data from now on, and every file must have it; the model does not see it"
    if schema.kind == "table" and one.kind != "ignore":
        note += (
            f". It looks like kind = {toml_item(one.kind or '')}. To learn from it, make a new "
            "workspace with files that have it: a learner keeps its inputs, and earlier "
            "experiences lack the column"
        )
    return note


def _words_note(column: CategoryColumn) -> str:
    if column.truth:
        return "a truth value is True or False; mend the file"
    effect = 'they are let through, as unseen = "allow"' if column.unseen == "allow" else (
        'unseen = "allow" lets them through'
    )  # fmt: skip
    return (
        f"the list makes up the inputs of the learner: {effect}; to learn from them, add them and "
        "give the model another name in perdure.toml"
    )


def _new_column(name: str, column: pd.Series[Any]) -> Difference:
    present = [text for text in values.as_text(column) if text is not None]
    return Difference(
        "new column", name, len(present), column_of(column).kind, _samples(Counter(present))
    )


def _in_column(name: str, column: pd.Series[Any], kind: Kind) -> Iterator[Difference]:
    if isinstance(kind, IgnoredColumn):
        return
    typed, wrong = canonical(column, kind)
    if wrong.any() and not isinstance(kind, ImageColumn):
        texts = Counter(str(text) for text in values.as_text(column[wrong]))
        yield Difference("wrong type", name, int(wrong.sum()), _word(kind), _samples(texts))
    missing = typed.isna().to_numpy() & ~wrong
    if missing.any() and not getattr(kind, "nullable", False):
        yield Difference("missing values", name, int(missing.sum()), _word(kind))
    if isinstance(kind, CategoryColumn) and not kind.buckets:
        words = _new_words(column, kind)
        if words:
            counts = Counter(word for word in typed.tolist() if word in set(words))
            rows = counts.total()
            yield Difference("new words", name, rows, _word(kind), _samples(counts))
    elif isinstance(kind, (NumberColumn, ValueTarget)):
        yield from _outside(name, typed.to_numpy(np.float64), kind)
    elif isinstance(kind, SequenceColumn):
        present = [one for one in typed.tolist() if one is not None]
        numbers = np.concatenate(present) if present else np.zeros(0)
        yield from _outside(name, numbers, kind)
    elif isinstance(kind, ClassTarget):
        yield from _new_classes(name, typed[~missing & ~wrong].tolist(), kind)


def _outside(
    name: str, numbers: np.ndarray[Any, Any], kind: NumberColumn | SequenceColumn | ValueTarget
) -> Iterator[Difference]:
    low = kind.min is not None and numbers < kind.min
    high = kind.max is not None and numbers > kind.max
    outside = numbers[np.broadcast_to(low | np.asarray(high), numbers.shape)]
    if outside.size:
        limits = f"{'' if kind.min is None else f'{kind.min:g}'} to " + (
            "" if kind.max is None else f"{kind.max:g}"
        )
        shown = (f"{outside.min():g}", f"{outside.max():g}")
        yield Difference("outside limits", name, int(outside.size), limits.strip(), shown)


def _new_classes(name: str, labels: list[Label], kind: ClassTarget) -> Iterator[Difference]:
    counts = Counter(label for label in labels if label not in kind.classes)
    for label, rows in sorted(counts.items()):
        near = resembling(label, kind.classes)
        note = None if near is None else f"perhaps a typing error for {near!r}"
        yield Difference("new class", name, rows, "class", (str(label),), None, note)


def _new_words(column: pd.Series[Any], kind: CategoryColumn) -> list[str]:
    typed, _ = canonical(column, kind)
    known = set(kind.categories)
    return sorted({word for word in typed.tolist() if word is not None} - known)


def _label(one: Difference, frame: pd.DataFrame, target: ClassTarget) -> Label:
    """The class itself, in the type of the others."""
    (text,) = one.values
    return int(text) if isinstance(target.classes[0], int) else text


def _samples(counts: Counter[str]) -> tuple[str, ...]:
    return tuple(
        text if len(text) <= 40 else text[:39] + "…" for text, _ in counts.most_common(SAMPLES)
    )


def _word(kind: Kind) -> str:
    return "class" if isinstance(kind, ClassTarget) else getattr(kind, "kind", "number")
