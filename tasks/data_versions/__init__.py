"""DVC: versions of the data folder as a whole."""

from perdure.tasks.data_versions.pointer import missing, pointer, revision
from perdure.tasks.data_versions.versions import (
    add_and_push,
    files,
    init,
    is_initialised,
    pull,
    remote_reachable,
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
