"""Which experiences there are, and which of them wait to be learned."""

from __future__ import annotations

from perdure.config import Workspace
from perdure.errors import UsageError
from perdure.records import Experience, Registered
from perdure.tasks import experiences


def pending(ws: Workspace, now: Registered) -> tuple[Experience, ...]:
    """Experiences that the challenger's cursor has not seen and that are not held, in order.

    What an ingest has not yet committed is not among them: it may have been cut short.
    """
    learned = now.challenger.cursor if now.challenger else ()
    return experiences.committed(ws, {*learned, *now.held})


def get(ws: Workspace, id_: str) -> Experience:
    """One experience.

    Raises:
        UsageError: There is no such experience.
    """
    if (found := experiences.get(ws, id_)) is None:
        raise UsageError(f"there is no experience {id_}", hint="perdure status")
    return found
