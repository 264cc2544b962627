"""Write a schema as TOML, with comments that say how to change each rule."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from perdure.reading.formats import NumberFormat
from perdure.tasks.tables.columns import (
    CategoryColumn,
    Column,
    ImageColumn,
    NumberColumn,
    SequenceColumn,
    TextColumn,
    TimeColumn,
    Written,
)
from perdure.tasks.tables.definition import ClassTarget, Label, Schema, ValueTarget
from perdure.tasks.tables.parse import bare_key

_HEAD = """\
# What every file must look like before the model learns from it.
# Perdure inferred the form from the first file: names, kinds, and what may be missing. There
# are no limits but those that you write. It is yours to change, and git keeps it.
# `perdure ingest FILE` reads it afresh each time. What it refuses goes to quarantine, with
# the reason for each row. `perdure schema --diff FILE` shows what a file has that is not here.

# What a row that breaks a rule does: "rows" sets that row aside and keeps the rest of the
# file; "file" refuses the whole file for it.
on_bad_row = {on_bad_row}

# Beyond this share of refused rows the whole file is refused (0.0: at the first; 1.0: never).
max_bad_share = {max_bad_share}

# What becomes of columns that are not listed below: "ignore" leaves them out, and ingest names
# them; "refuse" refuses their file. A file that lacks a column is always refused.
extra_columns = {extra_columns}
"""

_CLASSES = """\

# What the model predicts. A row without it is always refused. With new_classes = "allow" a
# class that is not listed is let in once it has min_class_rows rows, in one file or gathered
# from several: the model gets an output more for it, and keeps what it knows. Fewer rows are set
# aside in quarantine as possible typing errors, until there are enough. "refuse" refuses them.
# A class that you add to the list is let in with any number of rows.
[target]
name = {name}
task = "classification"
classes = {classes}
new_classes = {new_classes}
"""

_VALUES = """\

# What the model predicts. A row without it is always refused. To refuse values outside a range
# too, write min = NUMBER and max = NUMBER.
[target]
name = {name}
task = "regression"
"""

_COLUMNS = """\

# The columns. `kind` is one of
#   "number"    a value that is no number is refused. To refuse numbers outside a range too,
#               write min = NUMBER and max = NUMBER. How text writes them: decimal = ",",
#               grouping = "." between thousands, unit = "%" before or after, and
#               missing = ["?"] for what stands for no number.
#   "category"  unseen = "allow" lets words through that are not listed (the model treats them
#               all alike, as unseen, and ingest says how many rows have some); "refuse" refuses
#               their rows, as it must be for truth values. A word that differs by case or spaces
#               alone from a listed one is that one. Of very many words, buckets = 1024 in place
#               of a list gives each one of so many codes.
#   "time"      a date, perhaps with a time of day: format = "iso", "unix" (seconds), or such as
#               "%d.%m.%Y"; zone = "Europe/Berlin" is that of times without an offset, and the
#               clock that the model sees. It sees the time that passed, and the place in the
#               year, the week and the day: sees = ["elapsed", "year", "week", "day"].
#   "ignore"    kept in the data, but neither checked nor seen by the model.
# nullable = true lets missing values through.
# To learn from one column of text, or of numbers in order such as "1.5 2 3", make that one
# kind = "text", or kind = "sequence" with a length, and "ignore" all others.
# Which columns are "number" and "category", their order, and the list of categories make up
# the model's inputs: to change those, give the model another name in perdure.toml.
"""

_WHOLE = {
    "image": """\

# Images: each is turned as its EXIF orientation says, put on white where it is transparent,
# and stretched to this size. channels: 1 is grey, 3 is red, green and blue.
# These make up the model's inputs: to change them, give the model another name in perdure.toml.
""",
    "text": """\

# The text that the model learns from, and it alone; "ignore" keeps a column in the data.
# tokenizer  "words" (in lower case, with punctuation marks) or "bytes" (any language or code).
# length     the model sees the first so many tokens of a text.
# vocabulary words are hashed to so many codes.
# embedding  so many learned numbers stand for a code.
# nullable = true lets empty texts through.
# All but nullable make up the model's inputs: to change those, give the model another name in
# perdure.toml.
""",
    "sequence": """\

# The numbers in order that the model learns from, and they alone: a list in Parquet, or text
# such as "1.5 2 3", "1.5;2;3" or "[1.5, 2, 3]". "ignore" keeps a column in the data.
# length     the model sees the last so many numbers; to change it, give the model another name
#            in perdure.toml.
# min, max   the least and greatest number let through; without them there is no limit.
# nullable = true lets empty sequences through.
""",
}


def render(schema: Schema) -> str:
    """The text of `schema.toml`; `parse(render(schema)) == schema`."""
    target = schema.target
    parts = [
        _HEAD.format(
            on_bad_row=_text(schema.on_bad_row),
            max_bad_share=repr(float(schema.max_bad_share)),
            extra_columns=_text(schema.extra_columns),
        )
    ]
    if isinstance(target, ClassTarget):
        parts.append(
            _CLASSES.format(
                name=_text(target.name),
                classes=toml_list(target.classes),
                new_classes=_text(target.new_classes),
            )
        )
        if target.new_classes == "allow" or target.min_class_rows > 1:
            parts.append(f"min_class_rows = {target.min_class_rows}\n")
        if target.max_classes != ClassTarget.model_fields["max_classes"].default:
            parts.append(f"max_classes = {target.max_classes}\n")
    else:
        parts.append(_VALUES.format(name=_text(target.name)))
        parts += [*_limits(target), *_written(target)]
    parts.append(_COLUMNS if schema.kind == "table" else _WHOLE[schema.kind])
    parts += [f"\n{toml_section(name, column)}" for name, column in schema.columns.items()]
    return "".join(parts)


def toml_section(name: str, column: Column) -> str:
    """The lines of one column, `[columns.NAME]` first."""
    lines = [f"[columns.{_quoted_key(name)}]\n", f"kind = {_text(column.kind)}\n"]
    if isinstance(column, (NumberColumn, CategoryColumn, TextColumn, SequenceColumn)):
        lines.append(f"nullable = {str(column.nullable).lower()}\n")
    if isinstance(column, (NumberColumn, SequenceColumn)):
        lines += _limits(column)
    if isinstance(column, NumberColumn):
        lines += _written(column)
    if isinstance(column, TimeColumn):
        lines.append(f"nullable = {str(column.nullable).lower()}\n")
        lines.append(f"format = {_text(column.format)}\nzone = {_text(column.zone)}\n")
        lines.append(f"sees = {toml_list(column.sees)}\n")
    if isinstance(column, (ImageColumn, TextColumn, SequenceColumn)):
        lines += _settings(column)
    if isinstance(column, CategoryColumn):
        lines.append(f"unseen = {_text(column.unseen)}\n")
        if column.buckets:
            lines.append(f"buckets = {column.buckets}\n")
        else:
            lines.append(f"categories = {toml_list(column.categories)}\n")
    return "".join(lines)


def _settings(column: ImageColumn | TextColumn | SequenceColumn) -> Iterable[str]:
    for key, value in column.model_dump(exclude={"kind", "nullable", "min", "max"}).items():
        yield f"{key} = {_text(value) if isinstance(value, str) else value}\n"


def _written(column: Written) -> Iterable[str]:
    """How numbers are written, where that is not as usual."""
    usual = NumberFormat()
    for key in ("decimal", "grouping", "unit"):
        if (value := getattr(column, key)) != getattr(usual, key):
            yield f"{key} = {_text(value)}\n"
    if column.missing:
        yield f"missing = {toml_list(column.missing)}\n"


def _limits(column: NumberColumn | SequenceColumn | ValueTarget) -> Iterable[str]:
    for key, value in (("min", column.min), ("max", column.max)):
        if value is not None:
            yield f"{key} = {float(value)!r}\n"


def _text(value: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _quoted_key(name: str) -> str:
    return name if bare_key(name) == name else _text(name)


def toml_item(value: Label) -> str:
    """A class or a word, written as TOML."""
    return _text(value) if isinstance(value, str) else str(value).lower()


def toml_list(values: Sequence[Label], more: Sequence[str] = ()) -> str:
    """A list of classes or words, written as TOML; `more` are written already."""
    items = [*map(toml_item, values), *more]
    line = f"[{', '.join(items)}]"
    if len(line) <= 80:
        return line
    return "[\n" + "".join(f"    {item},\n" for item in items) + "]"
