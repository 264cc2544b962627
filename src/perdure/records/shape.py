"""Whether a JSON value is what `to_json` makes of a record."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def fitted(value: Any, kind: Any, at: str = "") -> Any:
    """A JSON value of a type, without the keys that the type does not have.

    A field with a default may be missing: an older Perdure had not got it.

    Args:
        value: As `json.loads` gives it; it may be anything.
        kind: A record, or a type that fields of records have.
        at: Where the value stands, for the message.

    Raises:
        ValueError: It is something else; with where that is.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(value, inner, at)
    if origin is Literal:
        return _asked(value, value in inner, at)
    if origin is tuple:
        items = _asked(value, isinstance(value, list), at)
        if {type(item) for item in items} <= _plain(inner[0]):
            return list(items)  # the rows of a matrix: thousands of numbers
        return [fitted(item, inner[0], f"{at}[{place}]") for place, item in enumerate(items)]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        items = _asked(value, isinstance(value, dict), at)
        return {key: fitted(item, inner[1], f"{at}.{key}") for key, item in items.items()}
    if dataclasses.is_dataclass(kind):
        return _record(value, kind, at)
    if kind is float:
        return _asked(value, value is None or _is_number(value), at)  # NaN is null
    plain = {int: int, str: str, bool: bool, type(None): type(None)}[kind]
    return _asked(value, type(value) is plain, at)


def _record(value: Any, kind: Any, at: str) -> dict[str, Any]:
    given, found = _asked(value, isinstance(value, dict), at), {}
    hints = _hints(kind)
    for field in dataclasses.fields(kind):
        if field.name in given:
            place = f"{at}.{field.name}" if at else field.name
            found[field.name] = fitted(given[field.name], hints[field.name], place)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{at or 'it'} has no {field.name}")
    return found


def _one_of(value: Any, kinds: tuple[Any, ...], at: str) -> Any:
    if value is None:
        return _asked(value, type(None) in kinds or float in kinds, at)
    faults = []
    for kind in kinds:
        try:
            return fitted(value, kind, at)
        except ValueError as error:
            faults.append(error)
    raise faults[0]


def _asked(value: Any, right: bool, at: str) -> Any:
    if not right:
        raise ValueError(f"{at or 'it'} is not what it should be: {value!r:.60}")
    return value


def _is_number(value: Any) -> bool:
    if type(value) is int:
        return abs(value) < 2**1023  # a float holds it
    return type(value) is float


@cache
def _plain(kind: Any) -> frozenset[type]:
    """The Python types of which every value is right."""
    if get_origin(kind) in (Union, types.UnionType):
        return frozenset().union(*map(_plain, get_args(kind)))
    if kind is float:
        return frozenset({float, type(None)})
    return frozenset({kind}) if kind in (str, bool, type(None)) else frozenset()


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
