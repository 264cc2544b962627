"""Loopback ports that stay the same from one `perdure up` to the next, so that bookmarks live."""

from __future__ import annotations

import hashlib
import itertools
import json
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

HOST = "127.0.0.1"
FIRST, LAST = 18000, 29999
"""Outside the range of kernels for outgoing connections, one of which would otherwise sooner or
later have the port of a server that is just being started again."""

FILE = "ports.json"


def choose(folder: Path, names: Sequence[str]) -> dict[str, int]:
    """Choose a free port for each name: the last one, else one that follows from the folder.

    Args:
        folder: Where they are remembered.
        names: What they are for.
    """
    remembered = _remembered(folder)
    chosen: dict[str, int] = {}
    for name in names:
        start = int(hashlib.sha256(f"{folder.resolve()}/{name}".encode()).hexdigest(), 16)
        span = LAST - FIRST + 1
        others = (FIRST + (start + step) % span for step in range(span))
        tried = itertools.chain([remembered[name]] if name in remembered else [], others)
        chosen[name] = next(p for p in tried if p not in chosen.values() and free(p))
    if chosen != remembered:
        with suppress(OSError):  # then they are other ones next time
            (folder / FILE).write_text(json.dumps({**remembered, **chosen}), encoding="utf-8")
    return chosen


def free(port: int) -> bool:
    """Whether a server could listen on a port now."""
    with socket.socket() as probe:
        # As servers do: connections of an earlier server that still linger are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _remembered(folder: Path) -> dict[str, int]:
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {str(name): int(port) for name, port in found.items() if 0 < int(port) < 65536}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
