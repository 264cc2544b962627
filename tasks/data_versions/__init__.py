"""DVC: versions of the data folder as a whole."""

from perdure.tasks.data_versions.pointer import (
    listed,
    missing,
    note,
    pointer,
    present,
    repair,
    revision,
    revision_in,
)
from perdure.tasks.data_versions.versions import (
    add_and_push,
    files,
    init,
    is_initialised,
    pull,
    remote_problem,
)

__all__ = [
    "add_and_push",
    "files",
    "init",
    "is_initialised",
    "listed",
    "missing",
    "note",
    "pointer",
    "present",
    "pull",
    "remote_problem",
    "repair",
    "revision",
    "revision_in",
]
