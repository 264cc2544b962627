"""The end of a process that must not take seconds to take its interpreter apart."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn


def quick_exit(code: int) -> NoReturn:
    """Join the threads, call what was registered for the exit, flush, and end the process.

    Python would then also free every module and object, which takes half a second with torch, and
    in a fork copies the pages that it shares with others.
    """
    # Not public; the interpreter's own last steps, in its order.
    vars(threading)["_shutdown"]()
    vars(atexit)["_run_exitfuncs"]()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
