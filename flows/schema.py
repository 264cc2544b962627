"""Schema: show it, compare it with a file, take what is new into it, remove inferred limits."""

from __future__ import annotations

from pathlib import Path

from perdure.config import Workspace
from perdure.errors import ConfigError, UsageError
from perdure.flows.ingest import WAIT_FOR_DATA_S
from perdure.records.schema import Difference, SchemaColumn, SchemaReport
from perdure.tasks import experiences, git, locks
from perdure.tasks.registry import Registry
from perdure.tasks.tables import read
from perdure.tasks.tables import schema as schemas
from perdure.tasks.tables.schema import Inferred, Schema
from perdure.workspace import open_workspace


def show(workspace: str) -> SchemaReport:
    """Show what the schema says.

    Raises:
        ConfigError: The schema cannot be read or is wrong.
    """
    ws = open_workspace(workspace)
    return _report(ws, schemas.load(ws.schema, ws.config.data))


def diff(workspace: str, file: str) -> SchemaReport:
    """Show what a file has that the schema does not. Changes nothing.

    Raises:
        UsageError: There is no such file.
        DataRefused: The file cannot be read as a table, or as images.
    """
    ws = open_workspace(workspace)
    rules = schemas.load(ws.schema, ws.config.data)
    frame = read.read(_existing(file), rules).frame
    return _report(ws, rules, file, schemas.differences(frame, rules))


def accept(workspace: str, file: str) -> SchemaReport:
    """Take what is new in a file into the schema; the change is left for a person to commit.

    Raises:
        UsageError: There is no such file, or the schema's layout cannot be edited.
        DataRefused: The file cannot be read as a table, or as images.
        Unreachable: MLflow does not answer, which knows whether a model has learned.
    """
    ws = open_workspace(workspace)
    now = Registry(ws).read()
    learned = now.challenger is not None or now.champion is not None
    with locks.hold(ws, "data", "schema --accept", wait_s=WAIT_FOR_DATA_S):
        rules = schemas.load(ws.schema, ws.config.data)
        text = ws.schema.read_text(encoding="utf-8")
        frame = read.read(_existing(file), rules).frame
        found = schemas.differences(frame, rules)
        new, differences = schemas.accepted(text, ws.schema.name, rules, frame, found, learned)
        _write(ws, text, new)
    return _report(ws, schemas.load(ws.schema, ws.config.data), file, differences, text != new)


def lift(workspace: str) -> SchemaReport:
    """Remove the limits that an older version inferred; the change is left for a person to commit.

    Raises:
        UsageError: The schema's layout cannot be edited; nothing was changed.
    """
    ws = open_workspace(workspace)
    with locks.hold(ws, "data", "schema --lift", wait_s=WAIT_FOR_DATA_S):
        rules = schemas.load(ws.schema, ws.config.data)
        text = ws.schema.read_text(encoding="utf-8")
        found = inferred(ws, rules)
        new = schemas.lifted(text, ws.schema.name, rules, found) if found else text
        _write(ws, text, new)
    return _report(ws, schemas.load(ws.schema, ws.config.data), changed=text != new)


def inferred(ws: Workspace, rules: Schema) -> Inferred:
    """Which limits of the schema an older version inferred from the first file."""
    text = ws.schema.read_text(encoding="utf-8")
    before = git.first_version(ws.root, ws.schema) if git.top(ws.root) is not None else None
    try:
        first = None if before is None else schemas.parse(before)
    except ConfigError:  # a person's first attempt: it says nothing
        first = None
    return schemas.inferred(text, rules, first)


def _existing(file: str) -> Path:
    path = Path(file)
    if not path.exists():
        raise UsageError(f"{file} does not exist", hint="perdure schema --diff FILE")
    return path


def _write(ws: Workspace, text: str, new: str) -> None:
    if new != text:
        with experiences.writing(ws, ws.schema) as part:
            part.write_text(new, encoding="utf-8")


def _report(
    ws: Workspace,
    rules: Schema,
    file: str | None = None,
    found: tuple[Difference, ...] = (),
    changed: bool = False,
) -> SchemaReport:
    target = rules.target
    of_classes = target if isinstance(target, schemas.ClassTarget) else None
    return SchemaReport(
        path=str(ws.schema),
        target=target.name,
        task=target.task,
        classes=tuple(map(str, of_classes.classes)) if of_classes else (),
        new_classes=of_classes.new_classes if of_classes else None,
        min_class_rows=of_classes.min_class_rows if of_classes else None,
        extra_columns=rules.extra_columns,
        columns=tuple(
            SchemaColumn(name, column.kind, getattr(column, "nullable", False), _rule(column))
            for name, column in rules.columns.items()
        ),
        inferred=inferred(ws, rules).in_words(),
        file=None if file is None else Path(file).name,
        differences=found,
        diff=git.diff(ws.root, ws.schema) if changed else "",
    )


def _rule(column: schemas.Column) -> str | None:
    """What is asked of a value beside its kind, in words."""
    if isinstance(column, schemas.CategoryColumn):
        if column.buckets:
            return f"words, hashed to {column.buckets} codes"
        words = f"{len(column.categories)} words"
        return f"{words}, no other" if column.unseen == "refuse" else f"{words}, others as unseen"
    if isinstance(column, schemas.TimeColumn):
        return f"{column.format_of_times.words}, zone {column.zone}"
    if isinstance(column, schemas.ImageColumn):
        return f"{column.height} × {column.width} pixels, {column.channels} channels"
    low, high = getattr(column, "min", None), getattr(column, "max", None)
    limits = [f"at least {low:g}"] if low is not None else []
    limits += [f"at most {high:g}"] if high is not None else []
    if isinstance(column, schemas.NumberColumn) and column.format.words:
        limits.append(column.format.words)
    return ", ".join(limits) or None
