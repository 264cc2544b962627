"""Running out of the memory that `resources.memory` allows a flow run, with a clear error."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from perdure import exhausted
from perdure.errors import Fault

BOUND = "PERDURE_MEMORY_BOUND"
"""Environment variable of a flow run's process: how many bytes of memory it may have."""


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
        if allowed is None or not exhausted.is_memory(error):
            raise
        raise Fault(
            f"the run needed more memory than resources.memory = {_size(int(allowed))} allows "
            f"({str(error).splitlines()[0][:200] if str(error) else type(error).__name__})",
            hint="raise resources.memory in perdure.toml, or lower training.batch_size",
        ) from error


def _size(count: int) -> str:
    return f"{count / 10**9:.3g}GB"
