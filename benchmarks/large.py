"""A large table: what `init` and `ingest` take, in seconds, and `retrain`, in memory.

A million rows of 18 decimal and 3 whole numbers, 2 words and a class. Each command is a process of
its own, so its start is in the figure; beside it stands what pandas takes to read the file.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.results import Row

PART = "large"
ROWS = 1_000_000
PERDURE = (sys.executable, "-P", "-m", "perdure")
TARGETS = {"init, CSV": 8.0, "ingest, CSV": 6.0, "init, Parquet": 3.0, "ingest, Parquet": 3.0}
"""Seconds that are wanted."""
LEARN = "retrain, memory"
FEW = 2_000
MORE_GB = 0.5
"""What learning from the rows may take more than learning from a few."""


def measure(only: str, begins: Callable[[str], object]) -> Iterator[Row]:
    """Seconds of each command, its peak memory in the note; and the memory of learning."""
    if only in LEARN:
        begins(f"learning from {ROWS:,} rows")
        few, many = _learning(FEW), _learning(ROWS)
        note = f"{many:.2f} GB at most; {few:.2f} GB with {FEW:,} rows"
        yield Row(PART, LEARN, many - few, MORE_GB, most=True, unit="GB", note=note)
    for kind, suffix in (("CSV", "csv"), ("Parquet", "parquet")):
        if not any(only in name for name in TARGETS if name.endswith(kind)):
            continue
        with tempfile.TemporaryDirectory(prefix="perdure-bench-") as name:
            begins(f"{ROWS:,} rows of {kind}")
            files = [_write(Path(name) / f"{number}.{suffix}", number) for number in (1, 2)]
            plain = _pandas(files[0])
            root = str(Path(name) / "large")
            init = _run("init", root, "--data", str(files[0]), "--target", "label")
            ingest = _run("ingest", str(files[1]), "-w", root)
            for what, (seconds, peak) in ((f"init, {kind}", init), (f"ingest, {kind}", ingest)):
                if only in what:
                    yield _row(what, seconds, peak, plain)


def _learning(rows: int) -> float:
    """Gigabytes that `retrain` takes at most, with one epoch of so many rows."""
    with tempfile.TemporaryDirectory(prefix="perdure-bench-") as name:
        root = Path(name) / "large"
        _run("init", str(root), "--data", str(_write(Path(name) / "1.parquet", 1, rows)),
             "--target", "label")  # fmt: skip
        config = root / "perdure.toml"
        config.write_text(config.read_text().replace("[training]", "[training]\nepochs = 1", 1))
        return _run("retrain", "-w", str(root))[1]


def _row(name: str, seconds: float, peak: float, plain: float) -> Row:
    note = f"{peak:.1f} GB at most; pandas reads the file in {plain:.1f} s"
    return Row(PART, name, seconds, TARGETS[name], most=True, unit="s", note=note)


def _write(path: Path, number: int, rows: int = ROWS) -> Path:
    rng = np.random.default_rng(number)
    columns: dict[str, Any] = {
        f"x{place}": rng.normal(place, 1 + place, rows).round(4) for place in range(18)
    }
    columns |= {f"k{place}": rng.integers(0, 50, rows) for place in range(3)}
    columns["site"] = rng.choice(["north", "south", "east", "west"], rows)
    columns["colour"] = rng.choice([f"c{code}" for code in range(40)], rows)
    noise = rng.normal(0, 1, rows)
    score = columns["x0"] + columns["x1"] * 0.5 + (columns["site"] == "north") * 2 + noise
    columns["label"] = np.where(score > 0.5, "yes", "no")
    frame = pd.DataFrame(columns)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


def _pandas(path: Path) -> float:
    start = time.perf_counter()
    _ = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    return time.perf_counter() - start


def _run(*arguments: str) -> tuple[float, float]:
    """Seconds of a command, and gigabytes of its memory at most."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [*PERDURE, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"perdure {arguments[0]} ended with {process.returncode}")
    return time.perf_counter() - start, used.ru_maxrss / 2**20
