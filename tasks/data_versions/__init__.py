"""DVC: versions of the data folder as a whole."""

from perdure.tasks.data_versions.versions import (
    add_and_push,
    files,
    init,
    is_initialised,
    missing,
    pointer,
    pull,
    remote_reachable,
    revision,
)

__all__ = [
    "add_and_push",
    "files",
    "init",
    "is_initialised",
    "missing",
    "pointer",
    "pull",
    "remote_reachable",
    "revision",
]
