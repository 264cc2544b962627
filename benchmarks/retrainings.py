"""Whether a whole retraining, and what a version keeps, grow with the experiences before it.

A small model learns many small experiences, one retraining after the other, in one process and
without a Prefect server; seconds are of the processor. The budget of test rows is so small that it
is full from the beginning, as it is with large experiences; by default, 20,000, it would fill up
for 1,600 experiences as small as these.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.results import Row
from perdure import config
from perdure.flows.ingest import ingest
from perdure.flows.initialise import initialise
from perdure.flows.retrain import retrain

PART = "retrainings"
EARLY, LATE, AROUND = 10, 1000, 10
"""The retrainings that are compared, and over how many each figure is the median."""
ROWS, BUDGET = 60, 100
COST, SIZE, DATABASE = "retraining, processor time", "version, files", "version, MLflow's database"
EACH = "number by number, processor time"
"""The row whose figures are drawn; measured alone, it has the first `FEW` retrainings."""
FEW = 100
COMMANDS = ("status", "history", "show 5")
NAMES = (COST, SIZE, DATABASE, EACH, *(f"perdure {command}" for command in COMMANDS))
MOST = 1.3
PERDURE = (sys.executable, "-P", "-m", "perdure")
_CONFIG = """
[evaluation]
max_rows = {budget}
"""


def measure(only: str, begins: Callable[[str, int], Callable[[int], None]]) -> Iterator[Row]:
    """Late figures, to early ones."""
    wanted = [name for name in NAMES if only in name]
    if not wanted:
        return
    last = FEW if wanted == [EACH] else LATE
    with tempfile.TemporaryDirectory(prefix="perdure-bench-") as name:
        root = _workspace(Path(name) / "small")
        seconds: list[float] = []
        kept: dict[int, tuple[int, int]] = {}
        commands: dict[int, dict[str, float]] = {}
        advance = begins(f"{last} retrainings", last)
        for number in range(1, last + 1):
            if number > 1:
                (root / "inbox" / f"{number:05d}.csv").write_text(_table(number), encoding="utf-8")
                ingest.fn(str(root))
            start = time.process_time()
            retrain.fn(str(root))
            seconds.append(time.process_time() - start)
            if last == LATE and (number <= 2 * EARLY or number >= LATE - AROUND):
                kept[number] = _kept(root)
            if last == LATE and number in (EARLY, LATE):
                commands[number] = {one: _seconds_of(root, one) for one in COMMANDS}
            advance(1)
    yield each(seconds)
    if last != LATE:
        return
    late, early = _median(seconds, LATE), _median(seconds, EARLY)
    yield _row(COST, late, early, f"{early:.2f} s and {late:.2f} s")
    for place, name in enumerate((SIZE, DATABASE)):
        added = {n: kept[n][place] - kept[n - 1][place] for n in kept if n - 1 in kept}
        late, early = (
            float(statistics.median(added[n] for n in range(last - AROUND + 1, last + 1)))
            for last in (LATE, EARLY + AROUND // 2)
        )
        yield _row(name, late, early, f"{early / 1024:.0f} and {late / 1024:.0f} KiB")
    for one in COMMANDS:
        late, early = commands[LATE][one], commands[EARLY][one]
        yield _row(f"perdure {one}", late, early, f"{early:.2f} s and {late:.2f} s, the process")


def each(seconds: list[float]) -> Row:
    """The series that is drawn: medians around each tenth number."""
    last = len(seconds)
    figures = {str(n): _median(seconds, n) for n in range(EARLY, last + 1, EARLY)}
    late, early = figures[str(last)], figures[str(EARLY)]
    unit = f"of number {EARLY}, number {last:,}"
    note = f"{early:.2f} s and {late:.2f} s, of number {EARLY} and {last:,}; drawn below"
    return Row(PART, EACH, late / early, unit=unit, figures=figures, note=note)


def _row(name: str, late: float, early: float, note: str) -> Row:
    unit = f"of number {EARLY}, number {LATE:,}"
    return Row(PART, name, late / early, MOST, most=True, unit=unit, note=note)


def _median(values: list[float], number: int) -> float:
    """The median of the figures around a number; of those before it at the end."""
    last = min(len(values), number + AROUND // 2)
    return float(statistics.median(values[last - AROUND : last]))


def _workspace(root: Path) -> Path:
    root.parent.mkdir(parents=True, exist_ok=True)
    first = root.parent / "first.csv"
    first.write_text(_table(1), encoding="utf-8")
    initialise(root, first, "kind")
    with (root / config.CONFIG_NAME).open("a", encoding="utf-8") as file:
        file.write(_CONFIG.format(budget=BUDGET))
    subprocess.run(["git", "-C", str(root), "commit", "-qam", "budget"], check=True)
    return root


def _table(number: int) -> str:
    """Two numbers, a word and a class, in a world that stands still."""
    rng = np.random.default_rng(number)
    a, b, colour = rng.normal(0, 2, ROWS), rng.normal(0, 2, ROWS), rng.choice(["r", "g"], ROWS)
    kinds = np.where(a + b + rng.normal(0, 1, ROWS) > 0, "yes", "no")
    lines = [f"{a[i]:.4f},{b[i]:.4f},{colour[i]},{kinds[i]}" for i in range(ROWS)]
    return "\n".join(["a,b,colour,kind", *lines]) + "\n"


def _kept(root: Path) -> tuple[int, int]:
    """Bytes of all versions' files and figures, and of MLflow's database."""
    state = root / ".perdure"
    files = sum(p.stat().st_size for p in (state / "artifacts").rglob("*") if p.is_file())
    return files, (state / "mlflow.db").stat().st_size


def _seconds_of(root: Path, command: str) -> float:
    """Processor time of a command, the median of five."""
    found = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [*PERDURE, *command.split(), "-w", str(root)],
            check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(found)
