"""How a part of `perdure up` says that it cannot work yet, and why.

What a machine lacks for one part, such as a GPU that others have, must not end all the others. So a
part that says what it waits for counts as ready, and `perdure status` shows it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

WAITS = "Waiting here: "
OVER = "No longer waiting: "

logger = logging.getLogger("perdure")


class Reason:
    """What a part waits for, and logs when it changes."""

    def __init__(self) -> None:
        self._logged: str | None = None

    def say(self, why: str | None) -> None:
        """Log a reason to wait; None: there is none any more."""
        if why == self._logged:
            return
        if self._logged is not None:
            logger.info("%s%s", OVER, self._logged)
        if why is not None:
            logger.warning("%s%s", WAITS, why)
        self._logged = why


def until_none(
    reason: Callable[[], str | None], look_s: float, pause: Callable[[float], object] = time.sleep
) -> bool:
    """Wait as long as there is a reason to, and say each once.

    Args:
        reason: Why to wait; None: no longer.
        look_s: Seconds between two looks.
        pause: Waits so long; what is true ends the wait.

    Returns:
        Whether there is none any more.
    """
    current = Reason()
    while True:
        why = reason()
        current.say(why)
        if why is None:
            return True
        if pause(look_s):
            return False


def heard(line: str, before: tuple[str, ...] = ()) -> tuple[str, ...]:
    """For what a part waits, after a line of its log; it may consist of several processes."""
    if (over := line.partition(OVER)[2]) != "":
        return tuple(one for one in before if one != over)
    if (why := line.partition(WAITS)[2]) != "" and why not in before:
        return (*before, why)
    return before
