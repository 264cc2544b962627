"""Git, through its command line: a repository, commits of just our own files, and its remote."""

from perdure.tasks.git.abandoned import left
from perdure.tasks.git.command import LOCK_RETRIES_S
from perdure.tasks.git.remote import (
    Branch,
    branch,
    fast_forward,
    fetch,
    has,
    proposed,
    published,
    push,
    relation,
    theirs,
)
from perdure.tasks.git.repository import (
    at,
    commit,
    diff,
    ensure_repository,
    first_version,
    head,
    last_commit_of,
    restore,
    top,
    version,
)
from perdure.tasks.git.trees import export
from perdure.tasks.git.trial import remote_of, try_fetch, try_push

__all__ = [
    "LOCK_RETRIES_S",
    "Branch",
    "at",
    "branch",
    "commit",
    "diff",
    "ensure_repository",
    "export",
    "fast_forward",
    "fetch",
    "first_version",
    "has",
    "head",
    "last_commit_of",
    "left",
    "proposed",
    "published",
    "push",
    "relation",
    "remote_of",
    "restore",
    "theirs",
    "top",
    "try_fetch",
    "try_push",
    "version",
]
