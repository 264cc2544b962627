"""Small programs that behave as parts of `perdure up` do, and worse."""

from __future__ import annotations

import sys

END_WITH_PARENT = """
import os, signal, threading
def follow():
    while os.read(0, 100): pass
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=follow, daemon=True).start()
"""
SLEEP = "import time\ntime.sleep(600)\n"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
CHILD = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", {program!r}], start_new_session={session})
"""


def command(*pieces: str) -> list[str]:
    """The command of a program made of these pieces."""
    return [sys.executable, "-c", "\n".join(pieces)]


def obedient() -> list[str]:
    """Ends with its parent, and at SIGTERM."""
    return command(END_WITH_PARENT, SLEEP)


def stubborn() -> list[str]:
    """Ends at SIGKILL alone, and its child, in a session of its own, likewise."""
    child = CHILD.format(program=STUBBORN + SLEEP, session=True)
    return command(STUBBORN, child, SLEEP)


def with_child(*, session: bool) -> list[str]:
    """Ends as it should, but leaves its child behind."""
    return command(CHILD.format(program=STUBBORN + SLEEP, session=session), END_WITH_PARENT, SLEEP)


def served(port: int, *, after_s: float = 0.0) -> list[str]:
    """Answers every request, after a while."""
    server = (
        "import http.server, time\n"
        "class Answer(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(200); self.end_headers()\n"
        "    def log_message(self, *a): pass\n"
        f"time.sleep({after_s})\n"
        f"http.server.HTTPServer(('127.0.0.1', {port}), Answer).serve_forever()\n"
    )
    return command(END_WITH_PARENT, server)


def dying(code: int = 3, *, words: str = "") -> list[str]:
    """Says something, and ends."""
    return command(f"import sys; print({words!r}, flush=True); sys.exit({code})")
