"""Measure, print the tables, and write them into the documentation.

python -m benchmarks                          all of it: `make bench`
python -m benchmarks speed --only "der++"     some rows of one part, printed alone
python -m benchmarks quality --write          one part, and keep what was found
python -m benchmarks choose --only SI         try settings on validation rows
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import (
    batches,
    decisions,
    equal,
    files,
    growth,
    large,
    pages,
    quality,
    results,
    retrainings,
    speed,
    survey,
    tables,
    unattended,
    years,
)
from benchmarks.measure import CLOCKS, one_thread
from benchmarks.results import Row

PARTS = ("equal", "speed", "growth", "retrainings", "files", "large", "unattended", "largest",
         "quality", "survey", "decisions", "tables", "years")  # fmt: skip
TITLES = {
    "equal": "Weights that are those of stock Avalanche, bit for bit",
    "speed": "Speed, against a plain PyTorch loop of the same mathematics",
    "growth": "After many experiences, to after one",
    "retrainings": "Retraining number 1,000, to number 10",
    "files": "Saving and loading a learner",
    "large": "A million rows, 24 columns",
    "unattended": "`perdure up`: from a file to a champion, and what it costs to wait",
    "largest": "The largest batch that fits",
    "quality": "Accuracy, each experience learned in a fresh process",
    "survey": "Every strategy with its default settings",
    "decisions": "Decisions by evidence, and whole streams under rules beside each other",
    "tables": "The default learner on tables, file by file, beside models from scratch",
    "years": "Twenty years of weather, beside training anew each year",
}


class Bench:
    """One run of the benchmarks.

    Args:
        only: Rows whose name contains this.
        device: Of the parts that an accelerator is for.
        clock: Of `measure.CLOCKS`.
        console: Where tables and progress go.
    """

    def __init__(self, only: str, device: torch.device, clock: str, console: Console) -> None:
        self.only, self.device, self.clock, self.console = only, device, clock, console

    def rows(self, part: str, keep: Callable[[Row], None]) -> list[Row]:
        """Measure a part, telling how far it is, and keep each row as soon as it is there."""
        found = []
        with self._progress() as progress:
            for row in self._found(part, partial(self._begins, progress, part)):
                keep(row)
                found.append(row)
        return found

    def _begins(
        self, progress: Progress, part: str, name: str, steps: int | None = None
    ) -> Callable[[int], None]:
        """Show what is being done: a bar on a terminal, a line elsewhere."""
        for task in progress.task_ids:
            progress.remove_task(task)
        bar = progress.add_task(f"{part}: {name}", total=steps)
        if not progress.console.is_terminal:
            progress.console.print(f"{part}: {name} …")
        return partial(progress.advance, bar)

    def _found(self, part: str, begins: Callable[..., Callable[[int], None]]) -> Iterator[Row]:
        if part in ("quality", "survey"):
            yield from (quality if part == "quality" else survey).measure(self.only, begins)
            return
        if part in ("unattended", "large"):
            yield from (unattended if part == "unattended" else large).measure(self.only, begins)
            return
        with one_thread():
            if part == "speed":
                yield from speed.measure(self.only, self.device, self.clock, begins)
            elif part == "growth":
                yield from growth.measure(self.only, self.clock, begins)
            elif part == "retrainings":
                yield from retrainings.measure(self.only, begins)
            elif part == "decisions":
                yield from decisions.measure(self.only, begins)
            elif part == "tables":
                yield from tables.measure(self.only, begins)
            elif part == "years":
                yield from years.measure(self.only, begins)
            elif part == "files":
                yield from files.measure(self.only, self.clock, begins)
            elif part == "equal":
                yield from equal.measure(self.only, begins)
            else:
                yield from batches.measure(self.only, self.device, begins)

    def choose(self) -> None:
        """Try settings on validation rows."""
        with self._progress() as progress:
            begins = partial(self._begins, progress, "choosing")
            quality.choose(self.only, begins, self.console.print)

    @contextmanager
    def _progress(self) -> Iterator[Progress]:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(
            *columns, console=Console(stderr=True), transient=True, refresh_per_second=1
        ) as progress:
            yield progress


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("part", nargs="?", default="all", choices=["all", "choose", *PARTS])
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--write", action="store_true", help="keep the rows, and write the pages")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or mps")
    parser.add_argument("--clock", default="wall", choices=[*CLOCKS], help="cpu: where others work")
    asked = parser.parse_args()
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 140
    device = torch.device(asked.device)
    bench = Bench(asked.only, device, asked.clock, console)
    if asked.part == "choose":
        bench.choose()
        return
    everything = asked.part == "all"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    where = results.machine(name)
    console.print(where, f"{asked.clock} time; one thread; medians of five turns\n", sep="\n")
    for part in PARTS if everything else (asked.part,):
        if device.type != "cpu" and part not in ("speed", "largest"):
            continue
        _part(bench, part, where, write=everything or asked.write)
    if everything or asked.write:
        console.print(pages.write())


def _part(bench: Bench, part: str, where: str, *, write: bool) -> None:
    """Measure a part, print it, and keep it."""
    start, key = time.perf_counter(), results.key(part, bench.device.type)

    def keep(row: Row) -> None:
        if write:
            results.store(key, [row], where, whole=False)

    found = bench.rows(part, keep)
    if found:
        bench.console.print(pages.printed(TITLES[part], found))
        bench.console.print(f"{time.perf_counter() - start:.0f} s\n")
        if write and not bench.only:
            results.store(key, found, where)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
