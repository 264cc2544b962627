"""A resource that has run out, or whose limit was reached: what it is, and what to do."""

from __future__ import annotations

import re
import resource
from dataclasses import dataclass

from perdure import disk
from perdure.errors import chain

_MEMORY = re.compile(
    # torch on a CPU; Arrow; a thread's stack; a process of its own; a library that is loaded
    r"can't allocate memory|malloc of size|realloc of size|can't start new thread"
    r"|Cannot allocate memory|std::bad_alloc|failed to map segment",
    re.IGNORECASE,
)
_LARGE_FILE = re.compile(r"file too large", re.IGNORECASE)
_SQLITE_WRITE = re.compile(r"disk I/O error", re.IGNORECASE)
"""What SQLite says of a write that failed, for whatever reason."""


@dataclass(frozen=True)
class Exhausted:
    """What has run out."""

    what: str
    hint: str


def named(error: BaseException) -> Exhausted | None:
    """What has run out, by what any library says of it; None: it is another kind of error."""
    if disk.is_full(error):
        return Exhausted("the disk is full", "free some space, then run this again")
    texts = [str(one) for one in chain(error)]
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if any(map(_LARGE_FILE.search, texts)) or (
        limit != resource.RLIM_INFINITY and any(map(_SQLITE_WRITE.search, texts))
    ):
        allowed = "" if limit == resource.RLIM_INFINITY else f", which is {limit:,} bytes"
        return Exhausted(
            f"a file would be larger than the limit of this process{allowed}",
            "ulimit -f unlimited (a service: LimitFSIZE=infinity), then run this again",
        )
    if is_memory(error):
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return Exhausted("there is not enough memory", "end other programs, or add memory")
        return Exhausted(
            f"there is not enough memory: this process may have {limit:,} bytes of addresses",
            "ulimit -v unlimited (a service: LimitAS=infinity), then run this again",
        )
    return None


def is_memory(error: BaseException) -> bool:
    """Whether an error, or what it came from, says that there is no memory left."""
    return any(isinstance(one, MemoryError) or _MEMORY.search(str(one)) for one in chain(error))
