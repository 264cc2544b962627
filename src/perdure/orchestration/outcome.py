"""What a flow's body did, whatever becomes of the Prefect server meanwhile."""

from __future__ import annotations

import functools
import logging
from copy import copy
from typing import Generic, ParamSpec, TypeVar

import httpx
from prefect import Flow

from perdure.secrets import in_text

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger("perdure")

SERVER_ERRORS = (httpx.HTTPError, OSError, RuntimeError)
"""What Prefect's client raises where the server fails; bad parameters are none of them."""


class Outcome(Generic[P, R]):
    """A flow whose result is what its body did, whatever becomes of the server meanwhile.

    A rollback that was carried out must not be reported as failed, or a person repeats it,
    only because the server went down before it had the result.
    """

    def __init__(self, flow: Flow[P, R]) -> None:
        self._flow = flow
        self._started = False
        self._results: list[R] = []
        self._error: Exception | None = None

    def run(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the flow; call its function where the server fails before the body starts."""

        @functools.wraps(self._flow.fn)
        def body(*args: P.args, **kwargs: P.kwargs) -> R:
            return self._watch(*args, **kwargs)

        watched = copy(self._flow)
        watched.fn = body
        try:
            return watched(*args, **kwargs)
        except Exception as error:
            if self._error is not None:
                raise self._error from None
            if self._results:
                logger.warning("Done, but Prefect did not get the result: %s", in_text(str(error)))
                return self._results[-1]
            if self._started or not isinstance(error, SERVER_ERRORS):
                raise
            logger.warning("Prefect failed (%s); going on without it.", in_text(str(error)))
            return self._flow.fn(*args, **kwargs)

    def _watch(self, *args: P.args, **kwargs: P.kwargs) -> R:
        self._started = True
        try:
            result = self._flow.fn(*args, **kwargs)
        except Exception as error:
            self._error = error
            raise
        self._results.append(result)
        return result
