"""A preload for the forkserver of a worker whose flow runs need no torch: little, in a second."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import prefect.flow_engine  # noqa: F401

import perdure.service.job  # noqa: F401

# As in `perdure.service.preload`.
signal.signal(signal.SIGINT, signal.SIG_IGN)
with suppress(PermissionError):
    os.setsid()
