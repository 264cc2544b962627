"""What a schema says, how a file differs from it, and what was changed."""

from __future__ import annotations

from perdure.cli.console import escape, escape_lines, out
from perdure.cli.render.words import GOOD, counted, table
from perdure.records.schema import Difference, SchemaReport

FEW_CLASSES = 8
"""So many classes are named."""


def schema(result: SchemaReport) -> None:
    """The schema, as a table."""
    out.print(f"[bold]{escape(result.path)}[/]")
    out.print(f"  predicts {escape(result.target)}: {escape(_target(result))}")
    extra = "are left out" if result.extra_columns == "ignore" else "refuse their file"
    out.print(f"  columns that are not listed {extra}")
    shown = table("column", "kind", "missing values", "rule")
    for column in result.columns:
        missing = (
            "–" if column.kind == "ignore" else "let through" if column.nullable else "refused"
        )
        shown.add_row(escape(column.name), column.kind, missing, escape(column.rule or "–"))
    out.print(shown)
    _inferred(result)
    out.print("Compare a file: [bold]perdure schema --diff FILE[/]")


def schema_differences(result: SchemaReport) -> None:
    """What a file has that the schema does not."""
    file = escape(result.file or "")
    if not result.differences:
        out.print(f"{GOOD} {file} has nothing that the schema does not.")
        return
    _differences(result)
    out.print(f"Take what is new: [bold]perdure schema --accept {file}[/]")


def schema_changed(result: SchemaReport) -> None:
    """What was taken into the schema, or removed from it."""
    if result.differences:
        _differences(result)
    if not result.diff:
        out.print("Nothing was changed.")
        return
    out.print(escape_lines(result.diff.rstrip("\n")))
    name = result.path.rpartition("/")[2]
    out.print(f'Keep it: [bold]git commit -m "schema" {escape(name)}[/]')
    out.print(f"Or undo it: [bold]git checkout {escape(name)}[/]")


def _target(result: SchemaReport) -> str:
    if result.task == "regression":
        return "a number"
    classes = ", ".join(result.classes[:FEW_CLASSES])
    if len(result.classes) > FEW_CLASSES:
        classes += f" … ({len(result.classes)} in all)"
    if result.new_classes == "refuse":
        return f"{classes}; new classes are refused"
    rows = counted(result.min_class_rows or 1, "row")
    return f"{classes}; a new class comes in with {rows}"


def _differences(result: SchemaReport) -> None:
    shown = table("difference", "column", "kind", ">rows", "values", "what becomes of it")
    for one in result.differences:
        values = " to ".join(one.values) if one.what == "outside limits" else ", ".join(one.values)
        shown.add_row(
            one.what,
            escape(one.column),
            escape(one.kind or "–"),
            str(one.rows),
            escape(values) or "–",
            escape(_becomes(one)),
        )
    out.print(shown)


def _becomes(one: Difference) -> str:
    if one.taken is None:
        return one.note or "–"
    word = "taken" if one.taken else "not taken"
    return f"{word}: {one.note}" if one.note else word


def _inferred(result: SchemaReport) -> None:
    if result.inferred:
        out.print("Inferred by an older version from the first file, as limits:")
        for line in result.inferred:
            out.print(f"  {escape(line)}")
        out.print("Remove them: [bold]perdure schema --lift[/]")
