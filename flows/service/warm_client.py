"""`python -m MODULE`, by a fork of the warm process if there is one.

    python -I -S warm_client.py FOLDER MODULE [ARGUMENT...]

Starts in a hundredth of a second, for it imports next to nothing; see `warm.py`. Signals are
passed on to the fork, and this process ends as the fork does. If this process is killed, or the
one that started it, the fork is killed too. Where no fork can be made, it is the usual process.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys

PLACE = "PERDURE_WARM"
"""The environment variable that says to `perdure up`'s workers where the warm process listens."""
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
LOOK_SECONDS = 0.5
"""How often it is seen whether the parent is there."""


def main() -> None:
    """Run a module, warm or cold."""
    folder, module, *arguments = sys.argv[1:]
    parent = os.getppid()
    server = _connected(folder)
    if server is None:
        return _become(module, arguments)
    came: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        came.append(number)
        try:
            server.send(bytes([number]))
        except OSError:  # there is no fork (any more)
            return

    before = {number: signal.signal(number, pass_on) for number in PASSED_ON}

    def instead() -> None:
        for one, handler in before.items():
            signal.signal(one, handler)
        for number in came:  # nobody has obeyed it
            os.kill(os.getpid(), number)
        _become(module, arguments)

    request = {
        "module": module,
        "arguments": arguments,
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109 - pathlib would be most of the start
    }
    text = json.dumps(request).encode() + b"\n"
    try:
        sent = socket.send_fds(server, [text], [0, 1, 2])
        server.sendall(text[sent:])
    except OSError:  # it went away, or refused before it had heard all; then it has forked nothing
        return instead()
    while not select.select([server], [], [], LOOK_SECONDS)[0]:
        if os.getppid() != parent:
            sys.exit(1)  # the server sees the connection end
    said = server.recv(1024)
    if not said:  # it ended without a word: the warm process was killed, and the fork with it
        return _end(-signal.SIGKILL)
    answer = json.loads(said)
    if "status" not in answer:  # there is no fork
        return instead()
    return _end(answer["status"])


def _become(module: str, arguments: list[str]) -> None:
    """Run the module cold, as this process."""
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *arguments])


def _connected(folder: str) -> socket.socket | None:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        place = os.open(folder, os.O_RDONLY)
        try:
            server.connect(f"/proc/self/fd/{place}/warm.sock")
        finally:
            os.close(place)
    except OSError:  # nobody is warm (yet), or this is not Linux
        return None
    return server


def _end(status: int) -> None:
    """End as the fork did."""
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main()
