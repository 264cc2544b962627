"""Chains of experiences, each learned in a fresh process; several chains at a time."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Queue
from typing import Any

from benchmarks.streams import Side, Stream
from perdure.config import Config


@dataclass(frozen=True)
class Chain:
    """A stream, learned from its first experience to its last."""

    stream: Stream
    config: Config
    measured: Side = "test"
    dropped: bool = False
    """The strategy's memory is lost between any two experiences."""


@dataclass(frozen=True)
class Outcome:
    """What a chain came to."""

    accuracy: float
    """Of the rows of all experiences, after the last."""
    cpu: float
    """Seconds of CPU of all its processes: loading, learning, saving and measuring."""
    seconds: float
    """Seconds of CPU of learning alone."""
    memory: int
    """Bytes of what the strategies keep at the end."""


class Failed(Exception):
    """A process of a chain ended with an error, which it has printed, or training diverged."""


@contextmanager
def workers(count: int) -> Iterator[Queue[subprocess.Popen[str]]]:
    """Worker processes that wait for experiences to learn."""
    free: Queue[subprocess.Popen[str]] = Queue()
    started = []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    root = Path(__file__).resolve().parents[1]
    for _ in range(count):
        command = [sys.executable, "-m", "benchmarks.worker"]
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen(command, cwd=root, env=environment, stdin=pipe, stdout=pipe, text=True)
        )
        free.put(started[-1])
    try:
        yield free
    finally:
        for worker in started:
            worker.terminate()
            with suppress(BrokenPipeError), worker:  # closes the pipes, and waits
                pass


def learn(chains: Sequence[Chain], advance: Callable[[int], None], count: int = 2) -> list[Outcome]:
    """Learn the chains, as many at a time as there are workers.

    Args:
        chains: In any order.
        advance: Called with 1 after each experience.
        count: Workers.

    Returns:
        One outcome for each chain, in their order. While settings are tried on validation rows,
        those that diverge have an accuracy of 0.

    Raises:
        Failed: An experience could not be learned.
    """
    with workers(count) as free, ThreadPoolExecutor(count) as threads:
        futures = [threads.submit(_learn, chain, free, advance) for chain in chains]
        try:
            return [future.result() for future in futures]
        except Failed:
            threads.shutdown(cancel_futures=True)
            raise


def _learn(
    chain: Chain, free: Queue[subprocess.Popen[str]], advance: Callable[[int], None]
) -> Outcome:
    messages: list[dict[str, Any]] = []
    worker = free.get()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for number in range(chain.stream.experiences):
                last = number == chain.stream.experiences - 1
                job = {
                    "stream": asdict(chain.stream),
                    "config": chain.config.model_dump(mode="json", by_alias=True),
                    "folder": folder,
                    "number": number,
                    "dropped": chain.dropped,
                    "measured": chain.measured if last else None,
                }
                messages.append(_asked(worker, job))
                if "diverged" in messages[-1]:
                    if chain.measured != "validation":
                        raise Failed(messages[-1]["diverged"])
                    advance(chain.stream.experiences - number)
                    return Outcome(0.0, 0.0, 0.0, 0)
                shutil.rmtree(Path(folder) / str(number - 1), ignore_errors=True)
                advance(1)
    finally:
        free.put(worker)
    return Outcome(
        accuracy=messages[-1]["accuracy"],
        cpu=sum(one["cpu"] for one in messages),
        seconds=sum(one["seconds"] for one in messages),
        memory=messages[-1]["memory"],
    )


def _asked(worker: subprocess.Popen[str], job: dict[str, Any]) -> dict[str, Any]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    with suppress(BrokenPipeError):  # one that has ended says so by an empty line
        worker.stdin.write(json.dumps(job) + "\n")
        worker.stdin.flush()
    line = worker.stdout.readline()
    answer: dict[str, Any] = json.loads(line) if line else {"failed": "the worker ended"}
    if "failed" in answer:
        raise Failed(answer["failed"])
    return answer


def mean(outcomes: Sequence[Outcome]) -> float:
    """Mean accuracy."""
    return statistics.mean(one.accuracy for one in outcomes)
