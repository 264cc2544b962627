"""When what arrives in bursts is acted on: once it is quiet, or at the latest after a while."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Debounce:
    """Arrivals in, the moment to act out; on a clock in seconds that is never set back."""

    quiet_s: float
    """Nothing must have arrived for so long."""
    longest_s: float
    """Nothing waits longer, however much follows it."""
    first: float | None = None
    """When the oldest arrival came that was not acted on; None: there is none."""
    last: float = 0.0

    def arrived(self, now: float) -> None:
        """Something came, or grew."""
        if self.first is None:
            self.first = now
        self.last = max(self.last, now)

    @property
    def due(self) -> float | None:
        """When to act; None: nothing has arrived."""
        if self.first is None:
            return None
        return min(self.last + self.quiet_s, self.first + self.longest_s)

    def is_due(self, now: float) -> bool:
        """Whether to act now."""
        due = self.due
        return due is not None and now >= due

    def acted(self) -> None:
        """What has arrived so far was acted on."""
        self.first = None
