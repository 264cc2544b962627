"""A child process that ends with its parent, however the parent ends.

The parent gives it a pipe as standard input, and writes nothing there. The kernel closes the pipe
when the parent ends, also by SIGKILL.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable


def terminate() -> None:
    """SIGTERM to this process, for a library that ends well by it."""
    os.kill(os.getpid(), signal.SIGTERM)


def end_with(end: Callable[[], object] = terminate) -> None:
    """From now on, do something once standard input ends.

    Args:
        end: Called once, in a thread of its own. It may have ended before.
    """
    threading.Thread(target=_wait, args=(end,), daemon=True, name="parent").start()


def _wait(end: Callable[[], object]) -> None:
    try:
        while os.read(0, 1024):
            pass
    except OSError:  # closed: the other end is gone
        pass
    end()
