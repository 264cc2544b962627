"""Objects of DVC that no file of the data folder is any more, such as rows that were taken out."""

from __future__ import annotations

from perdure.config import Workspace
from perdure.tasks.data_versions import copying
from perdure.tasks.data_versions.client import named, quietly, use


def drop(ws: Workspace) -> str | None:
    """Remove them from DVC's cache, and from a remote that is a folder in the workspace.

    Older revisions of the data can no longer be checked out afterwards. Needs the data lock, and
    the data folder recorded.

    Returns:
        The address of the remote where it is elsewhere: there they stay, for other clones may not
        have the newest data yet.

    Raises:
        Fault: DVC refuses.
    """
    remote = copying.elsewhere(ws)
    with quietly(), named("gc"):
        use(ws.root, lambda repo: repo.gc(workspace=True, cloud=remote is None, force=True))
    return remote
