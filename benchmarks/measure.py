"""Measuring in turns: a ratio to a peer from one run, so that the machine's mood cancels out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

REPEATS = 5


def in_turns(jobs: Mapping[str, Callable[[], None]], repeats: int = REPEATS) -> dict[str, float]:
    """Run every job once to warm up, then all of them in turns.

    Returns:
        The median wall time of each, in seconds.
    """
    for job in jobs.values():
        job()
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}
