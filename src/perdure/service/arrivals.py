"""The inbox: what waits there, is complete, and has rested for as long as `trigger.debounce`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from perdure.config import Workspace
from perdure.flows import inbox
from perdure.tasks.write_complete import Looks, Seen, seen

logger = logging.getLogger("perdure")

POLL_S = 5.0
"""How often the inbox is looked at though no event came: an event of the file system may be lost,
and some file systems send none."""
GROWING_S = 1.0
"""How often while a file in it is being written; closing it is no event."""
SHARE = 0.01
"""Share of a core, at most, for looking at an inbox with very many files while nothing happens."""
STEP_S = 0.2
"""How exactly a look comes at its time."""


@dataclass(frozen=True)
class Waiting:
    """What is to be ingested: files of the inbox that are complete, and have rested."""

    files: dict[Path, Seen] = field(default_factory=dict)
    since: float = 0.0
    """When the oldest of them was first seen."""


class Arrivals:
    """Watches the inbox of a workspace, whichever the configuration names at the moment.

    Args:
        workspace: Gives the workspace as it is configured now.
        wake: Called when there is something new to ingest.
        clock: In seconds; never set back.
    """

    def __init__(
        self,
        workspace: Callable[[], Workspace],
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workspace = workspace
        self._wake = wake
        self._clock = clock
        self._looks = Looks(clock)
        self._there: dict[Path, Seen] = {}
        self._since: dict[Path, float] = {}
        """Since when each file waits in a state that has not rested yet, or has rested."""
        self._changed = 0.0
        """When a file came or grew last."""
        self.waiting = Waiting()

    def watch(self, stopped: threading.Event) -> float:
        """Look whenever something happens in the inbox, and now and then, until it moves.

        The inbox may be missing, be removed and made again, or move with the configuration.

        Returns:
            In how many seconds to watch again.
        """
        import watchfiles

        place = self._workspace().inbox
        identity = _identity(place)
        again = self._clock() + self.look()
        if identity is None:
            return GROWING_S
        for changes in watchfiles.watch(
            place,
            watch_filter=_Shown(place),
            debounce=400,
            step=100,
            rust_timeout=int(STEP_S * 1000),
            yield_on_timeout=True,
            stop_event=stopped,
            raise_interrupt=False,
            ignore_permission_denied=True,
        ):
            if changes or self._clock() >= again:
                again = self._clock() + self.look()
            if self._workspace().inbox != place or _identity(place) != identity:
                break  # the file system goes on to send events of the folder that was here
        return 0.0

    def look(self) -> float:
        """Look at the inbox once.

        Returns:
            In how many seconds to look again.
        """
        ws = self._workspace()
        trigger = ws.config.trigger
        begun = self._clock()
        there = _seen(ws)
        complete = self._looks.settled(there)
        now = self._clock()
        rested = {path: one for path, one in self.waiting.files.items() if there.get(path) == one}
        if there.items() - self._there.items():
            self._changed = now
        restarted = self.waiting.files.keys() - rested.keys()
        self._since = {p: now if p in restarted else self._since.get(p, now) for p in there}
        self._there = there
        news = [path for path in complete if path not in rested]
        oldest = min((self._since[path] for path in news), default=now)
        due = min(self._changed + trigger.debounce, oldest + trigger.max_wait)
        if acts := bool(news) and now >= due:
            rested = {path: there[path] for path in complete}
        # In one assignment, for another thread reads it.
        self.waiting = Waiting(rested, min((self._since[path] for path in rested), default=0.0))
        if acts:
            logger.info("%d new in the inbox.", len(news))
            self._wake()
        took = now - begun
        pause = max(POLL_S, took / SHARE)
        if len(complete) < len(there):
            pause = min(pause, max(GROWING_S, 10 * took))
        elif news and not acts:
            pause = min(pause, due - now)
        return max(pause, 0.01)


def _seen(ws: Workspace) -> dict[Path, Seen]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return {path: seen(path) or (0, 0, 0) for path in inbox.waiting(ws)}
    return {}


def _identity(place: Path) -> tuple[int, int] | None:
    try:
        facts = place.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


@dataclass(frozen=True)
class _Shown:
    """Leaves out what an ingest leaves alone: partial copies, as rsync's and our own."""

    place: Path

    def __call__(self, _change: object, path: str) -> bool:
        try:
            inside = Path(path).relative_to(self.place)
        except ValueError:  # named by way of a link
            return True
        return not (inside.parts and inside.parts[0].startswith("."))
