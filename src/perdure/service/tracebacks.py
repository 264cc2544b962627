"""Keeps tracebacks of what is no fault out of the logs: cancelled tasks and lost connections."""

from __future__ import annotations

import asyncio
import logging

OBSERVERS = ("prefect.FlowRunCancellingObserver", "prefect.FlowRunSuspendingObserver")
"""Prefect's loggers for the connections by which a process learns of a run's new state."""


def keep_out() -> None:
    """Drop the tracebacks that an outage of Prefect's server leaves in this process's log.

    After one, Prefect asks a task that it has cancelled for its exception, and asyncio logs it;
    and its observers log with a traceback that their connection was lost
    (`prefect._internal.observers`, Prefect 3.8).
    """
    logging.getLogger("asyncio").addFilter(_no_cancellation)
    for name in OBSERVERS:
        logging.getLogger(name).addFilter(_one_line)


def _no_cancellation(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError)


def _one_line(record: logging.LogRecord) -> bool:
    if record.exc_info and (error := record.exc_info[1]) is not None:
        record.msg, record.args, record.exc_info = f"{record.getMessage()} {error!r}", (), None
    return True
