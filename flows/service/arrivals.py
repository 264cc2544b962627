"""The inbox: what waits there, when it has settled, and when to tell of it."""

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
from perdure.flows.service.debounce import Debounce
from perdure.flows.service.settled import Looks, Seen, seen

logger = logging.getLogger("perdure")

POLL_S = 5.0
"""How often the inbox is looked at though nothing was heard: an event of the file system may be
lost, and on some file systems there are none."""
GROWING_S = 1.0
"""The same while a file in it is being written; that it was closed is no event."""
SHARE = 0.01
"""Of a core, at most, for looking at an inbox with very many files while nothing happens."""


@dataclass(frozen=True)
class Waiting:
    """What lies in the inbox and is whole."""

    files: dict[Path, Seen] = field(default_factory=dict)
    since: float = 0.0
    """When the oldest of them was first seen to lie there."""
    told: float | None = None
    """When some of them were last told of; None: the debounce still runs for all of them."""


class Arrivals:
    """Watches the inbox of a workspace, whichever the configuration names at the moment.

    Args:
        workspace: Gives the workspace as it is configured now.
        tell: Called with the number of files when there is something to be learned.
        clock: In seconds; never set back.
    """

    def __init__(
        self,
        workspace: Callable[[], Workspace],
        tell: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
        looks: Looks | None = None,
    ) -> None:
        self._workspace = workspace
        self._tell = tell
        self._clock = clock
        self._looks = looks or Looks(clock)
        self._known: dict[Path, tuple[Seen, float]] = {}
        """What each looked like last time, and when it was first there."""
        self._told: dict[Path, Seen] = {}
        """What the files looked like that were told of and are still there."""
        self._told_at: float | None = None
        trigger = workspace().config.trigger
        self._debounce = Debounce(trigger.debounce, trigger.max_wait)
        self.waiting = Waiting()

    def look(self) -> float:
        """Look at the inbox, and tell of what is due.

        Returns:
            In how many seconds to look again.
        """
        ws = self._workspace()
        trigger = ws.config.trigger
        self._debounce.quiet_s, self._debounce.longest_s = trigger.debounce, trigger.max_wait
        begun = self._clock()
        there = self._there(ws)
        whole = self._looks.settled(there)
        now = self._clock()
        if any(self._known.get(path, (None,))[0] != one for path, one in there.items()):
            self._debounce.arrived(now)
        self._known = {
            p: (one, self._known[p][1] if p in self._known else now) for p, one in there.items()
        }
        self._told = {p: one for p, one in self._told.items() if there.get(p) == one}
        news = [path for path in whole if path not in self._told]
        growing = len(whole) < len(there)
        if not news and not growing:
            self._debounce.acted()
        elif news:
            self._heard_of(now)
            if self._debounce.is_due(now):
                self._debounce.acted()
                self._told = {path: there[path] for path in whole}
                self._told_at = now
        self._publish(whole)
        if news and self._told_at == now:
            # It is remembered first: where telling fails, the reconciliation knows what waits.
            self._tell(len(news))
        return self._next(now, now - begun, growing)

    def _heard_of(self, now: float) -> None:
        """That a file was closed is news, and no change."""
        if self._debounce.due is None:
            self._debounce.arrived(now)

    def _there(self, ws: Workspace) -> dict[Path, Seen]:
        with suppress(FileNotFoundError, NotADirectoryError):
            return {path: seen(path) or (0, 0, 0) for path in inbox.waiting(ws)}
        return {}

    def _publish(self, whole: list[Path]) -> None:
        """In one assignment, for another thread reads it."""
        self.waiting = Waiting(
            files={path: self._known[path][0] for path in whole},
            since=min((self._known[path][1] for path in whole), default=0.0),
            told=self._told_at if self._told else None,
        )

    def _next(self, now: float, took: float, growing: bool) -> float:
        pause = max(POLL_S, took / SHARE)
        if growing:
            pause = min(pause, max(GROWING_S, 10 * took))
        elif self._debounce.due is not None:
            pause = min(pause, self._debounce.due - now)
        return max(pause, 0.01)


def listen(
    workspace: Callable[[], Workspace], wake: Callable[[], None], stop: threading.Event
) -> None:
    """Call `wake` whenever something happens in the inbox, until `stop`.

    The inbox may be missing, be removed and made again, or move with the configuration.
    """
    import watchfiles

    while not stop.is_set():
        place = workspace().inbox
        identity = _identity(place)
        if identity is None:
            stop.wait(1.0)
            continue
        wake()  # what came before anybody listened
        for changes in watchfiles.watch(
            place,
            watch_filter=_Shown(place),
            debounce=400,
            step=100,
            rust_timeout=int(POLL_S * 1000),
            yield_on_timeout=True,
            stop_event=stop,
            raise_interrupt=False,
            ignore_permission_denied=True,
        ):
            if changes:
                wake()
            if workspace().inbox != place or _identity(place) != identity:
                break  # the file system goes on to tell of the folder that was here


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
