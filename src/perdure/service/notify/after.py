"""After a command or a flow run: send notices, unless `perdure up` does it on this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from perdure import running
from perdure.errors import PerdureError
from perdure.workspace import open_workspace

logger = logging.getLogger("perdure")


@contextmanager
def notify_after(workspace: str) -> Iterator[None]:
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
                from perdure.service.notify import dispatch  # it imports Prefect

                dispatch.send_pending(ws)
        except PerdureError as error:
            logger.warning("No notice was sent: %s", error)
