"""Lengths of time and amounts of memory, as people write them: `"10s"`, `"6h"`, `"4GB"`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
BYTES = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}

_NUMBER = r"(\d+(?:\.\d+)?)\s*"


def seconds(value: Any) -> Any:
    """`"90s"`, `"5m"`, `"6h"`, `"1d"` or `"2w"` as seconds; a number is seconds already.

    Raises:
        ValueError: Text that is none of these.
    """
    return _read(value, SECONDS, 'seconds, or text such as "90s", "5m", "6h", "1d", "2w"')


def octets(value: Any) -> Any:
    """`"800MB"`, `"4GB"` or `"4GiB"` as bytes; a number is bytes already.

    Raises:
        ValueError: Text that is none of these.
    """
    found = _read(value, BYTES, 'bytes, or text such as "800MB", "4GB", "4GiB"')
    return int(found) if isinstance(found, float) else found


def _read(value: Any, units: dict[str, Any], allowed: str) -> Any:
    if not isinstance(value, str):
        return value
    found = re.fullmatch(_NUMBER + "(" + "|".join(units) + ")", value.strip())
    if found is None:
        raise ValueError(f"must be {allowed}")
    return float(found[1]) * units[found[2]]


Duration = Annotated[float, BeforeValidator(seconds), Field(ge=0, le=366 * 86400)]
"""Seconds."""
Memory = Annotated[int, BeforeValidator(octets), Field(ge=2**28)]
"""Bytes."""
