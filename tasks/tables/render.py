"""Write a schema as TOML, with comments that say how to loosen each rule."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from perdure.tasks.tables.columns import (
    CategoryColumn,
    ImageColumn,
    NumberColumn,
    SequenceColumn,
    TextColumn,
)
from perdure.tasks.tables.model import ClassTarget, Label, Schema, ValueTarget
from perdure.tasks.tables.parse import bare_key

_HEAD = """\
# What every file must look like before the model learns from it.
# Perdure inferred this from the first file; it is yours to change, and git keeps it.
# `perdure ingest FILE` reads it afresh each time. What it refuses goes to quarantine, with
# the reason for each row.

# What a row that breaks a rule does: "rows" sets that row aside and keeps the rest of the
# file; "file" refuses the whole file for it.
on_bad_row = {on_bad_row}

# Beyond this share of refused rows the whole file is refused (0.0: at the first; 1.0: never).
max_bad_share = {max_bad_share}

# What becomes of a file with columns that are not listed below: "refuse" the file, or
# "ignore" those columns (they are not kept).
extra_columns = {extra_columns}
"""

_CLASSES = """\

# What the model predicts. A row without it is always refused, and so is one whose class is
# not listed, unless new_classes = "allow": then the model gets an output more for it, and
# keeps what it knows. A class that is added at the end of the list is let in likewise.
[target]
name = {name}
task = "classification"
classes = {classes}
new_classes = {new_classes}
"""

_VALUES = """\

# What the model predicts. A row without it is always refused. To loosen the range, move min
# and max, or remove the line.
[target]
name = {name}
task = "regression"
"""

_COLUMNS = """\

# The columns. `kind` is one of
#   "number"    min and max are the least and greatest values let through: about six times the
#               spread of the first file. To loosen, move them, or remove the line.
#   "category"  unseen = "allow" lets words through that are not listed (the model treats them
#               all alike, as unseen); "refuse" refuses their rows.
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
# min, max   the least and greatest number let through. To loosen, move them, or remove the line.
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
                classes=_list(target.classes),
                new_classes=_text(target.new_classes),
            )
        )
        if target.max_classes != ClassTarget.model_fields["max_classes"].default:
            parts.append(f"max_classes = {target.max_classes}\n")
    else:
        parts.append(_VALUES.format(name=_text(target.name)) + "".join(_limits(target)))
    parts.append(_COLUMNS if schema.kind == "table" else _WHOLE[schema.kind])
    for name, column in schema.columns.items():
        lines = [f"\n[columns.{_quoted_key(name)}]\n", f"kind = {_text(column.kind)}\n"]
        if isinstance(column, (NumberColumn, CategoryColumn, TextColumn, SequenceColumn)):
            lines.append(f"nullable = {str(column.nullable).lower()}\n")
        if isinstance(column, (NumberColumn, SequenceColumn)):
            lines += _limits(column)
        if isinstance(column, (ImageColumn, TextColumn, SequenceColumn)):
            lines += _settings(column)
        if isinstance(column, CategoryColumn):
            lines.append(f"unseen = {_text(column.unseen)}\n")
            lines.append(f"categories = {_list(column.categories)}\n")
        parts.append("".join(lines))
    return "".join(parts)


def _settings(column: ImageColumn | TextColumn | SequenceColumn) -> Iterable[str]:
    for key, value in column.model_dump(exclude={"kind", "nullable", "min", "max"}).items():
        yield f"{key} = {_text(value) if isinstance(value, str) else value}\n"


def _limits(column: NumberColumn | SequenceColumn | ValueTarget) -> Iterable[str]:
    for key, value in (("min", column.min), ("max", column.max)):
        if value is not None:
            yield f"{key} = {float(value)!r}\n"


def _text(value: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _quoted_key(name: str) -> str:
    return name if bare_key(name) == name else _text(name)


def _list(values: Sequence[Label]) -> str:
    items = [_text(v) if isinstance(v, str) else str(v).lower() for v in values]
    line = f"[{', '.join(items)}]"
    if len(line) <= 80:
        return line
    return "[\n" + "".join(f"    {item},\n" for item in items) + "]"
