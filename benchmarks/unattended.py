"""What `perdure up` costs, and how long it takes from a file in the inbox to a new champion.

A workspace of the sample data learns ten years at once; then years arrive one by one. Times are
of the clock, so run it alone on a machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.results import Row
from perdure import config, running, server_secret
from perdure.cli.demo import sample
from perdure.service import process_group
from perdure.tasks.registry import Registry

PART = "unattended"
ARRIVAL, READY, IDLE, MEMORY = (
    "from a file to the champion, beyond the debounce",
    "ready, the second time",
    "idle, all processes, of one core",
    "idle, memory of all processes",
)
DEBOUNCE_S = 2.0
YEARS = 5
QUIET_S, IDLE_S = 30.0, 60.0
PATIENCE_S = 180.0
PERDURE = (sys.executable, "-P", "-m", "perdure")


def measure(only: str, begins: Callable[[str], object]) -> Iterator[Row]:
    """Seconds, share of a core, and bytes."""
    if not any(only in name for name in (ARRIVAL, READY, IDLE, MEMORY)):
        return
    with tempfile.TemporaryDirectory(prefix="perdure-bench-") as name:
        root = _workspace(Path(name) / "weather", begins)
        with _up(root):
            _wait(lambda: _champion(root), "the first ten years are learned")
        begins("perdure up")
        start = time.perf_counter()
        with _up(root):
            if only in READY:
                yield Row(PART, READY, time.perf_counter() - start, 15.0, most=True, unit="s")
            if only in IDLE or only in MEMORY:
                begins(f"idle for {IDLE_S:.0f} s")
                time.sleep(QUIET_S)
                yield from (row for row in _idle(root) if only in row.name)
            if only in ARRIVAL:
                begins(f"{YEARS} years, one after the other")
                time.sleep(QUIET_S)  # until it is warm
                yield _arrivals(root)


def _workspace(root: Path, begins: Callable[[str], object]) -> Path:
    begins("a workspace, and its first ten years")
    years = sample.years(sample.record())
    first = root.parent / "first.parquet"
    _joined(years[: sample.FIRST]).to_parquet(first)
    _run("init", str(root), "--data", str(first), "--target", sample.TARGET)
    with (root / config.CONFIG_NAME).open("a", encoding="utf-8") as file:
        file.write(f"\n[trigger]\ndebounce = {DEBOUNCE_S}\n")
    return root


def _joined(years: Sequence[Any]) -> Any:
    import pandas as pd

    return pd.concat(years)


def _run(*arguments: str) -> None:
    done = subprocess.run([*PERDURE, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"perdure {arguments[0]}: {done.stderr}")


@contextmanager
def _up(root: Path) -> Iterator[None]:
    _run("up", "--detach", "--workspace", str(root))
    try:
        yield
    finally:
        _run("down", "--workspace", str(root))


def _wait(what: Callable[[], Any], why: str) -> Any:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.05)
    raise RuntimeError(f"not within {PATIENCE_S:.0f} s: {why}")


def _champion(root: Path) -> int | None:
    champion = Registry(config.read(root)).read().champion
    return champion.version if champion else None


def _idle(root: Path) -> Iterator[Row]:
    """CPU time and memory of everything that runs, while nothing happens."""
    ours = process_group.of_folder(running.folder(root / ".perdure"))
    processes = [*process_group.alive(ours), psutil.Process(_running(root).pid)]
    before = _cpu(processes)
    time.sleep(IDLE_S)
    after = _cpu(processes)
    used = {pid: after[pid][0] - before[pid][0] for pid in after if pid in before}
    names = {pid: name for pid, (_, name) in after.items()}
    note = ", ".join(f"{names[pid]} {100 * s / IDLE_S:.1f}" for pid, s in _largest(used))
    share = 100 * sum(used.values()) / IDLE_S
    yield Row(PART, IDLE, share, 10.0, most=True, unit="%", note=f"{note} %")
    sizes = {one.pid: float(one.memory_full_info().pss) for one in processes if one.is_running()}
    note = ", ".join(f"{names[pid]} {size / 1e6:.0f}" for pid, size in _largest(sizes))
    total = sum(sizes.values()) / 1e9
    yield Row(PART, MEMORY, total, 2.0, most=True, unit="GB", note=f"{note} MB; pages shared once")


def _largest(values: dict[int, float]) -> list[tuple[int, float]]:
    return sorted(values.items(), key=lambda one: -one[1])[:6]


def _cpu(processes: Sequence[psutil.Process]) -> dict[int, tuple[float, str]]:
    found = {}
    for one in processes:
        try:
            spent = one.cpu_times()
            found[one.pid] = (
                spent.user + spent.system,
                one.environ().get(process_group.PART, "up"),
            )
        except psutil.Error:
            continue
    return found


def _running(root: Path) -> running.Running:
    found = running.read(root / ".perdure")
    if found is None:
        raise RuntimeError("perdure up has ended")
    return found


def _arrivals(root: Path) -> Row:
    """Years arrive one by one; where the time of each goes."""
    years = sample.years(sample.record())[sample.FIRST :][:YEARS]
    turns = [_arrival(root, year, f"year-{number}.csv") for number, year in enumerate(years)]
    middle = {step: statistics.median(turn[step] for turn in turns) for step in turns[0]}
    note = ", ".join(f"{step} {seconds:.1f}" for step, seconds in middle.items() if step != "all")
    totals = tuple(turn["all"] for turn in turns)
    return Row(
        PART, ARRIVAL, statistics.median(totals), 10.0, most=True, unit="s", repeats=totals,
        figures=middle, note=f"medians of {YEARS}: {note} s",
    )  # fmt: skip


def _arrival(root: Path, year: Any, name: str) -> dict[str, float]:
    """Seconds of one year, by step."""
    before = _champion(root)
    part = root / "inbox" / f".{name}"
    year.to_csv(part, index=False)
    part.rename(part.with_name(name))
    start = time.time()
    _wait(lambda: _champion(root) != before, "the year is learned")
    end = time.time()
    _wait(lambda: not _busy(root), "the run has ended")
    runs = {run["name"].partition(" ")[0]: run for run in _runs(root, start)}
    retrain, ingest, learn = (runs[name] for name in ("retrain", "ingest", "learn"))
    made, begun = _at(retrain["created"]), _at(retrain["start_time"])
    return {
        "all": end - start - DEBOUNCE_S,
        "to the run": made - start - DEBOUNCE_S,
        "to its start": begun - made,
        "to the ingest": _at(ingest["start_time"]) - begun,
        "ingest": _at(ingest["end_time"]) - _at(ingest["start_time"]),
        "to learning": _at(learn["start_time"]) - _at(ingest["end_time"]),
        "learning": end - _at(learn["start_time"]),
    }


def _busy(root: Path) -> bool:
    return any(run["state_type"] in {"PENDING", "RUNNING"} for run in _runs(root, 0.0))


def _runs(root: Path, since: float) -> list[dict[str, Any]]:
    """Flow runs that were made after a time, newest last."""
    api = _running(root).prefect_api
    body = {"sort": "START_TIME_DESC", "limit": 20}
    login = server_secret.login(root / ".perdure")
    answer = httpx.post(f"{api}/flow_runs/filter", json=body, auth=login, timeout=30)
    found = [run for run in answer.raise_for_status().json() if _at(run["created"]) >= since]
    return found[::-1]


def _at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost")
