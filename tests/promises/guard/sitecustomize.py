"""In every Python process of a journey: writes down and refuses what leaves this machine.

On PYTHONPATH it is imported before anything else, also by processes that a process starts.
`GUARD_LOG` names the file: one line for each attempt, and what was imported under a bare name.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any

_BARE = ("flows", "tasks", "strategies")
_LOOPBACK = ("127.", "::1", "localhost")
_EVENTS = ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg")


def _note(line: str) -> None:
    with open(os.environ["GUARD_LOG"], "a", encoding="utf-8") as log:  # noqa: PTH123
        log.write(line + "\n")


def _guard(event: str, args: tuple[Any, ...]) -> None:
    if event in _EVENTS:
        address = args[1] if len(args) > 1 else None
        host = address[0] if isinstance(address, tuple) else None
    elif event == "socket.getaddrinfo":
        host = args[0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode()
    if host is not None and not str(host).startswith(_LOOPBACK):
        _note(f"outside: {event} {args[1:] if event != 'socket.getaddrinfo' else args}")
        raise ConnectionRefusedError(f"{event} {host!r}: nothing may leave this machine")


def _bare_names() -> None:
    _note(f"process: {os.path.basename(sys.argv[0])} {' '.join(sys.argv[1:3])}")  # noqa: PTH119
    for name in _BARE:
        if name in sys.modules:
            _note(f"bare: {name} {sys.modules[name]}")


if "GUARD_LOG" in os.environ:
    sys.addaudithook(_guard)
    atexit.register(_bare_names)
