"""Running out of the memory that `resources.memory` allows a flow run, said plainly."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from perdure.errors import Fault

BOUND = "PERDURE_MEMORY_BOUND"
"""Environment variable of a flow run's process: how many bytes of memory it may have."""

_OTHER_WORDS = re.compile(
    # torch on a CPU; Arrow; a thread's stack; a process of its own
    r"can't allocate memory|malloc of size|realloc of size|can't start new thread"
    r"|Cannot allocate memory|std::bad_alloc",
    re.IGNORECASE,
)


@contextmanager
def explained() -> Iterator[None]:
    """Whatever says inside that there is no memory left, where there is a bound, names it.

    Raises:
        Fault: The memory that is allowed did not suffice.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        allowed = os.environ.get(BOUND)
        if allowed is None or not _is_memory(error):
            raise
        raise Fault(
            f"the run needed more memory than resources.memory = {_size(int(allowed))} allows "
            f"({str(error).splitlines()[0][:200] if str(error) else type(error).__name__})",
            hint="raise resources.memory in perdure.toml, or lower training.batch_size",
        ) from error


def _is_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or bool(_OTHER_WORDS.search(str(error)))


def _size(count: int) -> str:
    return f"{count / 10**9:.3g}GB"
