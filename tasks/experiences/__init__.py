"""The data folder: experiences, what waits, the quarantine, the marker of what is being added."""

from perdure.tasks.experiences.files import writing
from perdure.tasks.experiences.folder import (
    committed,
    experience_id,
    find,
    get,
    list_experiences,
    next_number,
    read_experience,
    recorded,
    write_experience,
)
from perdure.tasks.experiences.gathering import (
    clear_joined,
    counts,
    gathered,
    join,
    labels_found,
    labels_of,
    next_place,
    read_waiting,
    waiting_files,
    write_aside,
    write_waiting,
)
from perdure.tasks.experiences.in_progress import begin, done, replaced, unfinished
from perdure.tasks.experiences.quarantine import list_quarantined, quarantine, safe_name
from perdure.tasks.experiences.replacing import settle
from perdure.tasks.experiences.unrecorded import bring_back, set_aside

__all__ = [
    "begin",
    "bring_back",
    "clear_joined",
    "committed",
    "counts",
    "done",
    "experience_id",
    "find",
    "gathered",
    "get",
    "join",
    "labels_found",
    "labels_of",
    "list_experiences",
    "list_quarantined",
    "next_number",
    "next_place",
    "quarantine",
    "read_experience",
    "read_waiting",
    "recorded",
    "replaced",
    "safe_name",
    "set_aside",
    "settle",
    "unfinished",
    "waiting_files",
    "write_aside",
    "write_experience",
    "write_waiting",
    "writing",
]
