"""How long to wait before something that died is started again."""

from __future__ import annotations

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0
RECOVERED_SECONDS = 60.0
"""What lived so long died of something new."""


def doubled(first_s: float, times: int, longest_s: float) -> float:
    """The pause of `first_s` seconds, doubled so many times, and never above `longest_s`."""
    return min(first_s * 2.0 ** min(times, 30), longest_s)


class Backoff:
    """1, 2, 4 … 60 s, and 1 s again after a longer life."""

    def __init__(self, first_s: float = FIRST_SECONDS, longest_s: float = LONGEST_SECONDS) -> None:
        self._first = self._next = first_s
        self._longest = longest_s

    def after(self, lived_s: float) -> float:
        """Seconds to wait, after a life of so many seconds."""
        pause = self._first if lived_s >= RECOVERED_SECONDS else self._next
        self._next = min(2 * pause, self._longest)
        return pause
