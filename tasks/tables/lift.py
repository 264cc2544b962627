"""Limits that older versions of Perdure inferred from the first file, and how to remove them.

Until version 0.1 `perdure init` wrote the first file's range, widened, as `min` and `max`,
`new_classes = "refuse"` and `extra_columns = "refuse"`. Such a file goes on to mean what it says.
It is recognised by its comments, and what of it was inferred by the first version of the file in
git: a value that a person has changed since then is that person's, and stays.
"""

from __future__ import annotations

from dataclasses import dataclass

from perdure.tasks.tables.columns import Column, NumberColumn, SequenceColumn
from perdure.tasks.tables.definition import ClassTarget, Schema, ValueTarget
from perdure.tasks.tables.edit import Editor
from perdure.tasks.tables.infer import MIN_CLASS_ROWS

_MARKS = ("Perdure inferred this from the first file;", "about six times the")
"""Words of the comments that older versions wrote, and none that is written now."""

_HEAD = (
    """\
# Perdure inferred this from the first file; it is yours to change, and git keeps it.
""",
    """\
# Perdure inferred the form from the first file: names, kinds, and what may be missing. There
# are no limits but those that you write. It is yours to change, and git keeps it.
""",
)
_EXTRA = (
    """\
# What becomes of a file with columns that are not listed below: "refuse" the file, or
# "ignore" those columns (they are not kept).
""",
    """\
# What becomes of columns that are not listed below: "ignore" leaves them out, and ingest names
# them; "refuse" refuses their file. A file that lacks a column is always refused.
""",
)
_NEW_CLASSES = """\
# What the model predicts. A row without it is always refused. With new_classes = "allow" a
# class that is not listed is let in once it has min_class_rows rows, in one file or gathered
# from several. Fewer rows are set aside in quarantine as possible typing errors, until there
# are enough. "refuse" refuses them.
"""
_CLASSES = (
    """\
# What the model predicts. A row without it is always refused, and so is one whose class is
# not listed, unless new_classes = "allow": then the model gets an output more for it, and
# keeps what it knows. A class that is added at the end of the list is let in likewise.
""",
    _NEW_CLASSES,
)
_FIRST_CLASSES = (
    """\
# What the model predicts. A row without it is always refused, and so is one whose class is
# not listed. A new class changes the model's outputs: it needs a model of another name.
""",
    _NEW_CLASSES,
)
_VALUES = (
    """\
# What the model predicts. A row without it is always refused. To loosen the range, move min
# and max, or remove the line.
""",
    """\
# What the model predicts. A row without it is always refused. To refuse values outside a range
# too, write min = NUMBER and max = NUMBER.
""",
)
_NUMBERS = (
    """\
#   "number"    min and max are the least and greatest values let through: about six times the
#               spread of the first file. To loosen, move them, or remove the line.
""",
    """\
#   "number"    a value that is no number is refused. To refuse numbers outside a range too,
#               write min = NUMBER and max = NUMBER.
""",
)
_SEQUENCES = (
    """\
# min, max   the least and greatest number let through. To loosen, move them, or remove the line.
""",
    """\
# min, max   the least and greatest number let through; without them there is no limit.
""",
)
_COMMENTS = (_HEAD, _EXTRA, _CLASSES, _FIRST_CLASSES, _VALUES, _NUMBERS, _SEQUENCES)
"""What older versions explained, and what holds now."""


@dataclass(frozen=True)
class Inferred:
    """What an older version inferred as a limit.

    Attributes:
        columns: Columns with min or max.
        target: Whether the target of a regression has min or max.
        new_classes: Whether new classes are refused.
        extra_columns: Whether a file with another column is refused.
    """

    columns: tuple[str, ...] = ()
    target: bool = False
    new_classes: bool = False
    extra_columns: bool = False

    def __bool__(self) -> bool:
        return bool(self.columns or self.target or self.new_classes or self.extra_columns)

    def in_words(self) -> tuple[str, ...]:
        """One line for each, for people."""
        lines = [f"range of {name}" for name in self.columns]
        lines += ["range of the target"] * self.target
        lines += ["new classes are refused"] * self.new_classes
        lines += ["a file with another column is refused whole"] * self.extra_columns
        return tuple(lines)


def inferred(text: str, schema: Schema, first: Schema | None) -> Inferred:
    """Which limits of a schema an older version inferred.

    Args:
        text: Of the file.
        schema: What it says.
        first: What the first version of the file in git has; None: unknown, so every limit
            counts as inferred.
    """
    if not any(mark in text for mark in _MARKS):
        return Inferred()
    target = schema.target
    then = None if first is None else first.target
    return Inferred(
        columns=tuple(
            name
            for name, column in schema.columns.items()
            if _limited(column) and _unchanged(column, first, name)
        ),
        target=isinstance(target, ValueTarget)
        and (target.min, target.max) != (None, None)
        and (not isinstance(then, ValueTarget) or (then.min, then.max) == (target.min, target.max)),
        new_classes=isinstance(target, ClassTarget)
        and target.new_classes == "refuse"
        and not isinstance(target.classes[0], bool)
        and (not isinstance(then, ClassTarget) or then.new_classes == "refuse"),
        extra_columns=schema.extra_columns == "refuse"
        and (first is None or first.extra_columns == "refuse"),
    )


def lifted(text: str, path: str, schema: Schema, found: Inferred) -> str:
    """The text of a schema without the limits that an older version inferred.

    Raises:
        UsageError: The text is laid out in a way that cannot be edited; nothing is changed.
    """
    editor = Editor(text)
    columns = dict(schema.columns)
    for name in found.columns:
        columns[name] = columns[name].model_copy(update={"min": None, "max": None})
        for key in ("min", "max"):
            editor.remove(("columns", name), key)
    changes: dict[str, object] = {"columns": columns}
    if found.extra_columns:
        editor.set((), "extra_columns", '"ignore"')
        changes["extra_columns"] = "ignore"
    if found.target:
        changes["target"] = schema.target.model_copy(update={"min": None, "max": None})
        for key in ("min", "max"):
            editor.remove(("target",), key)
    if found.new_classes:
        update = {"new_classes": "allow", "min_class_rows": MIN_CLASS_ROWS}
        changes["target"] = schema.target.model_copy(update=update)
        editor.set(("target",), "new_classes", '"allow"')
        editor.set(("target",), "min_class_rows", str(MIN_CLASS_ROWS))
    for old, new in _COMMENTS:
        editor.comment(old, new)
    return editor.result(schema.model_copy(update=changes), path)


def _limited(column: Column) -> bool:
    return isinstance(column, (NumberColumn, SequenceColumn)) and (
        (column.min, column.max) != (None, None)
    )


def _unchanged(column: Column, first: Schema | None, name: str) -> bool:
    """Whether the limits are those of the first version."""
    if first is None:
        return True
    then = first.columns.get(name)
    limits = (getattr(column, "min", None), getattr(column, "max", None))
    return limits == (getattr(then, "min", None), getattr(then, "max", None))
