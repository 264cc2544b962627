"""What other clones have published and this one has not: the net below `perdure ingest` elsewhere.

Who ingests says so by an event, and events may be lost. So the git remote is asked now and then.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from perdure.config import Workspace
from perdure.tasks import git

ASK_S = 45.0
"""How often the remote is asked, which it notices little of: `git ls-remote` of one branch."""


class Remote:
    """Looks at the git remote of `[shared]`, where one is configured.

    Args:
        workspace: Gives the workspace as it is configured now.
        clock: In seconds; never set back.
    """

    def __init__(
        self, workspace: Callable[[], Workspace], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._workspace = workspace
        self._clock = clock
        self._new: tuple[str | None, float] = (None, 0.0)
        """The commit that is not here, and since when that is known; another thread reads it."""

    def look(self) -> float:
        """Ask the remote.

        Returns:
            In how many seconds to ask again.

        Raises:
            UsageError: There is no such remote, or the clone is on no branch.
            Unreachable: It does not answer.
        """
        ws = self._workspace()
        name, new = ws.config.shared.git_remote, None
        if name is not None:
            there = git.published(ws.root, git.branch(ws.root, name))
            new = there if there is not None and not git.has(ws.root, there) else None
        if new != self._new[0]:
            self._new = new, self._clock()
        return ASK_S

    def behind(self) -> tuple[str | None, float]:
        """The commit of the remote that is not here, and for how long that is known, in s.

        Where few rows start nothing (`trigger.min_rows`) only what has waited for `max_wait`:
        how many rows they are is not known, and the event has had a run look at them.
        """
        (new, since), ws = self._new, self._workspace()
        waited, trigger = self._clock() - since, ws.config.trigger
        if new is None or (trigger.min_rows and waited < trigger.max_wait):
            return None, 0.0
        if git.has(ws.root, new):  # it came meanwhile, or is from here
            return None, 0.0
        return new, waited
