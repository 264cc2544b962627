"""The log of a flow run at Prefect: Perdure's own lines stand in it too."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.logging.handlers import APILogHandler


@contextmanager
def own_lines() -> Iterator[None]:
    """Send what Perdure logs, from INFO on, to the log of the flow run that is going on."""
    log = logging.getLogger("perdure")
    level = log.level
    handler = APILogHandler()
    handler.addFilter(lambda _record: FlowRunContext.get() is not None)
    log.addHandler(handler)
    if log.getEffectiveLevel() > logging.INFO:
        log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def note(text: str) -> None:
    """Write a line into the log of the current flow run; outside of one, nothing.

    For what a command shows in its table, and a run has nowhere else to say.
    """
    if FlowRunContext.get() is not None:
        get_run_logger().info("%s", text)
