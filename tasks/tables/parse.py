"""Read `schema.toml`; every fault is reported, with its key."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from perdure.config import DataConfig
from perdure.errors import ConfigError
from perdure.tasks.tables.columns import WHOLE
from perdure.tasks.tables.definition import Schema

KINDS = ("number", "category", "time", *WHOLE, "ignore")
"""Names of columns."""


def load(path: Path, data: DataConfig | None = None) -> Schema:
    """Read a `schema.toml`.

    Args:
        path: The file.
        data: The `[data]` of `perdure.toml`; target and task must be the same in both.

    Raises:
        ConfigError: The file cannot be read or is wrong; with every fault and its key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = f"git checkout -- {path.name} brings back the last one committed"
        raise ConfigError(str(path), [f"cannot be read: {error}"], hint=hint) from error
    return parse(text, str(path), data)


def parse(text: str, path: str = "schema.toml", data: DataConfig | None = None) -> Schema:
    """Parse the text of a `schema.toml`; see `load`."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, [f"not valid TOML: {error}"]) from error
    except RecursionError as error:
        raise ConfigError(path, ["not valid TOML: nested too deeply"]) from error
    faults = _across(raw, data)
    try:
        schema = Schema.model_validate(raw)
    except ValidationError as error:
        details = (dict(detail) for detail in error.errors(include_url=False))
        raise ConfigError(path, [*map(_fault, details), *faults]) from error
    if faults:
        raise ConfigError(path, faults)
    return schema


def _across(raw: dict[str, Any], data: DataConfig | None) -> list[str]:
    """Faults between sections, found even where a section by itself is wrong."""
    faults = []
    columns, target = raw.get("columns"), raw.get("target")
    name = target.get("name") if isinstance(target, dict) else None
    if isinstance(columns, dict):
        kinds = [c.get("kind") if isinstance(c, dict) else None for c in columns.values()]
        if columns and all(kind == "ignore" for kind in kinds):
            faults.append("columns: all are ignored; the model needs at least one")
        faults += _not_alone(columns)
        if isinstance(name, str) and name in columns:
            faults.append(f"columns.{bare_key(name)}: is the target; describe it in [target] alone")
    if isinstance(target, dict) and data is not None:
        for key, here, there in (
            ("name", name, data.target),
            ("task", target.get("task"), data.task),
        ):
            if isinstance(here, str) and here != there:
                setting = "data.target" if key == "name" else "data.task"
                faults.append(
                    f"target.{key} = {here!r}: perdure.toml has {setting} = {there!r}; "
                    "the two must be the same"
                )
    return faults


def _not_alone(columns: dict[str, Any]) -> list[str]:
    """A column of images, texts or sequences is all that its model sees."""
    kinds = {n: c.get("kind") for n, c in columns.items() if isinstance(c, dict)}
    whole = next((name for name, kind in kinds.items() if kind in WHOLE), None)
    if whole is None:
        return []
    others = [name for name in kinds if name != whole]
    if kinds[whole] == "image":
        return [
            f"columns.{bare_key(name)}: images have no other column than {whole}" for name in others
        ]
    return [
        f"columns.{bare_key(name)}.kind = {kinds[name]!r}: {whole} is {kinds[whole]}, and must be "
        'the only column that the model sees; "ignore" the others'
        for name in others
        if kinds[name] != "ignore"
    ]


def bare_key(part: object) -> str:
    """A key as TOML has it, in quotes where it needs them."""
    text = str(part)
    bare = text and all(c.isascii() and (c.isalnum() or c in "-_") for c in text)
    return text if bare else json.dumps(text, ensure_ascii=False)


def _fault(detail: dict[str, Any]) -> str:
    # The kind of a column and the task of a target choose a class, whose name pydantic adds.
    loc = list(detail["loc"])
    tag = {"columns": 2, "target": 1}.get(str(loc[0]) if loc else "")
    if tag is not None and len(loc) > tag:
        del loc[tag]
    kind, message, value = detail["type"], str(detail["msg"]), detail.get("input")
    message = message.removeprefix("Value error, ")
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        chooser = "task" if loc[:1] == ["target"] else "kind"
        loc.append(chooser)
        value = value.get(chooser) if isinstance(value, dict) else None
        known = "'classification', 'regression'"
        known = known if chooser == "task" else ", ".join(map(repr, KINDS))
        message = f"must be one of {known}"
        kind = "missing" if value is None else kind
    key = ".".join(map(bare_key, loc))
    if kind == "missing":
        return f"{key}: is required"
    if kind == "extra_forbidden":
        return f"{key}: unknown key"
    shown = "" if isinstance(value, (dict, list)) else f" = {value!r}"
    return f"{key}{shown}: {message[0].lower()}{message[1:]}"
