"""Measuring in turns: a ratio to a peer from one run, so that the machine's mood cancels out."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

REPEATS = 5
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
"""`wall` is what a user waits for. `cpu` counts this process alone, and so says about the same
on a machine that others use at the same time; of a CPU only."""


@dataclass(frozen=True)
class Job:
    """Work to be timed."""

    run: Callable[[Any], object]
    ready: Callable[[], Any] = lambda: None
    """Makes what `run` is given, before the clock starts."""


@dataclass(frozen=True)
class Turns:
    """The seconds of every job in every repeat."""

    seconds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        """Of one job."""
        return statistics.median(self.seconds[name])

    def ratios(self, above: str, below: str) -> list[float]:
        """Seconds of one to those of another, repeat by repeat."""
        pairs = zip(self.seconds[above], self.seconds[below], strict=True)
        return [one / other for one, other in pairs]


def in_turns(
    jobs: Mapping[str, Job],
    repeats: int = REPEATS,
    clock: str = "wall",
    device: torch.device | None = None,
) -> Turns:
    """Run every job once to warm up, then all of them in turns.

    Every other repeat goes through the jobs backwards, so that a machine that becomes slower
    meanwhile favours none of them.

    Args:
        jobs: By name.
        repeats: Repeats.
        clock: Of `CLOCKS`.
        device: Waited for before and after each job, where it runs beside the CPU.
    """
    for name in jobs:
        _timed(jobs[name], clock, device)
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    order = list(jobs)
    for _ in range(repeats):
        for name in order:
            seconds[name].append(_timed(jobs[name], clock, device))
        order.reverse()
    return Turns(seconds)


def _timed(job: Job, clock: str, device: torch.device | None) -> float:
    given = job.ready()
    gc.collect()
    synchronise(device)
    start = CLOCKS[clock]()
    job.run(given)
    synchronise(device)
    return CLOCKS[clock]() - start


def synchronise(device: torch.device | None) -> None:
    """Wait until the device has done what it was given."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device is not None and device.type == "mps":
        torch.mps.synchronize()


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one CPU thread; and what is imported by now is no work for the collector."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        torch.set_num_threads(threads)
