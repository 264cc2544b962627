"""A disk that is full, or nearly: how it is recognised."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from perdure.errors import chain

LITTLE_BYTES = 200_000_000
"""With less free space an ingest or a retraining may not come to its end."""


def free_bytes(place: Path) -> int:
    """Free space where a folder lies, in bytes."""
    return shutil.disk_usage(place).free


def is_full(error: BaseException) -> bool:
    """Whether an error came from a disk that is full, whichever library raised it."""
    return any(
        getattr(one, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or says_full(str(one))
        for one in chain(error)
    )


def says_full(text: str) -> bool:
    """Whether a text reports a full disk, as the system, SQLite, git or DVC word it."""
    low = text.lower()
    return any(words in low for words in ("no space left", "disk is full", "disk quota"))
