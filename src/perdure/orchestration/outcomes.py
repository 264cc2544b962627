"""How a run of a deployment ends: the name and the message of its last state in Prefect.

A state's type stays what Prefect makes of it: COMPLETED where nothing failed. Its name shows a
night of refusals from a night of promotions, and what watches runs goes by it, never by a text.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import httpx
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from perdure import disk
from perdure.errors import LockHeld, PerdureError, Refusal, Unreachable
from perdure.orchestration.run_log import note, own_lines
from perdure.secrets import in_text

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger("perdure")

SKIPPED = "Skipped"
"""Another run works on the model; this one had nothing to add."""
LOCKED, REFUSED = "Locked", "Refused"
"""A person's wish was not carried out, for a reason that the message names."""
AWAY, DISK_FULL = "Unreachable", "Disk full"
"""What is away is back at any time; the run is worth another try."""

RESULTS = (LOCKED, REFUSED)
"""States of type FAILED that are no fault of anything."""
HINDERED = (AWAY, DISK_FULL)

Ending = tuple[str, str]
"""The name and the message of a state."""


def named(
    body: Callable[P, R], ending: Callable[[R], Ending] | None, skips: bool
) -> Callable[P, R]:
    """Give the runs of a deployment a last state with a name; other calls are not changed.

    Args:
        body: Of a flow.
        ending: From its result to the state's name and message; None: Prefect's own.
        skips: Whether a run that finds the model locked has nothing to add, and ends well.
    """

    @functools.wraps(body)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not of_a_deployment():
            return body(*args, **kwargs)
        # The result of such a run is not used, and Prefect takes a state in place of it.
        with own_lines():
            return cast("R", _ended(lambda: body(*args, **kwargs), ending, skips))

    return call


def of_a_deployment() -> bool:
    """Whether the caller runs inside a flow run of a deployment, no subflow."""
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    return run is not None and run.deployment_id is not None


def _ended(
    body: Callable[[], R], ending: Callable[[R], Ending] | None, skips: bool
) -> R | State[Any]:
    try:
        result = body()
    except LockHeld as error:
        if skips:
            logger.info("%s", error.message)
            return Completed(name=SKIPPED, message=error.message)
        return _failed(LOCKED, error)
    except Refusal as error:
        return _failed(REFUSED, error)
    except Exception as error:
        if disk.is_full(error):
            return _failed(DISK_FULL, error)
        if isinstance(error, (Unreachable, httpx.TransportError)):
            return _failed(AWAY, error)
        raise
    if ending is None:
        return result
    name, message = ending(result)
    note(f"{name}: {message}")
    return Completed(name=name, message=message)


def _failed(name: str, error: Exception) -> State[Any]:
    text = str(error) if isinstance(error, PerdureError) else f"{type(error).__name__}: {error}"
    logger.error("%s", in_text(text))
    return Failed(name=name, message=in_text(text))
