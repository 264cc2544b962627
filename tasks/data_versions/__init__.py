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
from perdure.tasks.data_versions.remote_objects import lacking
from perdure.tasks.data_versions.single import fetch
from perdure.tasks.data_versions.versions import (
    add_and_push,
    files,
    init,
    is_initialised,
    pull,
    push_lacking,
    remote_problem,
)

__all__ = [
    "add_and_push",
    "fetch",
    "files",
    "init",
    "is_initialised",
    "lacking",
    "listed",
    "missing",
    "note",
    "pointer",
    "present",
    "pull",
    "push_lacking",
    "remote_problem",
    "repair",
    "revision",
    "revision_in",
]
