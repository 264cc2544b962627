"""The JSON shapes that docs/commands.md describes, and whether a value is of one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from tests.docs import pages

Shape = dict[str, str]
"""Key to its type, in words."""

_MARK = re.compile(r"<!-- shape: (\w+) -->\n")


def described() -> dict[str, Shape]:
    """Every shape of the page, by name."""
    page = pages.text("commands.md")
    names = _MARK.findall(page)
    assert len(set(names)) == len(names)
    return {
        name: {
            key.strip("`"): re.sub(r"\[(\w+)\]\(#\1\)", r"\1", kind)
            for key, kind, _ in pages.rows(pages.after(f"<!-- shape: {name} -->\n", page))
        }
        for name in names
    }


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _time(value: Any) -> bool:
    return isinstance(value, str) and datetime.fromisoformat(value).utcoffset() is not None


ATOMS: dict[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "time": _time,
    "whole number": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": _number,
    "true or false": lambda value: isinstance(value, bool),
    "metrics": lambda value: (
        isinstance(value, dict)
        and bool(value)
        and all(v is None or _number(v) for v in value.values())
    ),
}


def faults(value: Any, kind: str, shapes: dict[str, Shape], at: str = "") -> Iterator[str]:
    """Where a value is not what the words of a type say."""
    if kind.startswith("list of "):
        if not isinstance(value, list):
            yield f"{at or 'it'} is no list: {value!r}"
            return
        for place, item in enumerate(value):
            yield from faults(item, kind.removeprefix("list of "), shapes, f"{at}[{place}]")
    elif match := re.fullmatch(r"object by \w+ of (\w+)", kind):
        for key, item in value.items():
            yield from faults(item, match[1], shapes, f"{at}.{key}")
    elif kind.endswith(" or null"):
        if value is not None:
            yield from faults(value, kind.removesuffix(" or null"), shapes, at)
    elif kind in ATOMS:
        if not ATOMS[kind](value):
            yield f"{at or 'it'} is no {kind}: {value!r}"
    else:
        yield from _object(value, shapes[kind], shapes, at)


def _object(value: Any, shape: Shape, shapes: dict[str, Shape], at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at or 'it'} is no object: {value!r}"
        return
    needed = {key for key, kind in shape.items() if not kind.endswith(", or missing")}
    yield from (f"{at}.{key} is missing" for key in sorted(needed - value.keys()))
    yield from (f"{at}.{key} is not described" for key in sorted(value.keys() - shape.keys()))
    for key in value.keys() & shape.keys():
        kind = shape[key].removesuffix(", or missing")
        yield from faults(value[key], kind, shapes, f"{at}.{key}")
