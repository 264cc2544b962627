"""The data folder: experiences, the quarantine, and the marker of what is being added."""

from perdure.tasks.experiences.aside import bring_back, set_aside
from perdure.tasks.experiences.files import readable, writing
from perdure.tasks.experiences.folder import (
    committed,
    experience_id,
    find,
    list_experiences,
    next_number,
    read_experience,
    write_experience,
)
from perdure.tasks.experiences.gathering import (
    counts,
    gathered,
    join,
    labels_found,
    labels_of,
    write_aside,
)
from perdure.tasks.experiences.marker import begin, done, unfinished
from perdure.tasks.experiences.quarantine import list_quarantined, quarantine, safe_name

__all__ = [
    "begin",
    "bring_back",
    "committed",
    "counts",
    "done",
    "experience_id",
    "find",
    "gathered",
    "join",
    "labels_found",
    "labels_of",
    "list_experiences",
    "list_quarantined",
    "next_number",
    "quarantine",
    "read_experience",
    "readable",
    "safe_name",
    "set_aside",
    "unfinished",
    "write_aside",
    "write_experience",
    "writing",
]
