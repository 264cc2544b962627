"""After a command by hand: tell the people who want to know, unless `perdure up` does it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from perdure import running
from perdure.errors import PerdureError
from perdure.flows.workspace import open_workspace

logger = logging.getLogger("perdure")


@contextmanager
def telling(workspace: str) -> Iterator[None]:
    """Send notices when the body has ended, also by a refusal.

    Nothing is raised for their sake, whatever goes wrong with them.

    Args:
        workspace: Folder of the workspace.
    """
    try:
        yield
    finally:
        try:
            ws = open_workspace(workspace)
            if ws.config.notify and running.read(ws.state) is None:
                from perdure.flows.service import herald  # not before it is needed

                herald.tell(ws)
        except PerdureError as error:
            logger.warning("No notice was sent: %s", error)
