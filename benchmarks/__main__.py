"""Print the benchmark tables: `make bench`."""

from __future__ import annotations

import os
import platform
from importlib import metadata

from rich.console import Console
from rich.table import Table


def main() -> None:
    """Measure, and print."""
    from benchmarks import growth, training

    console = Console(highlight=False)
    versions = ", ".join(f"{n} {metadata.version(n)}" for n in ("torch", "avalanche-lib"))
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, one thread; {versions}")
    console.print("Each figure: median of 5 turns, all in one run. Again: make bench\n")
    for title, columns, rows in (
        (
            "Learning one experience of 20,000 rows, 2 epochs, batch 64, 20-128-128-2",
            ("strategy", "speed", "against a raw PyTorch loop"),
            training.table(),
        ),
        (
            f"After {growth.MANY} experiences, to after 1",
            ("strategy", "learning one more", "learner on disk"),
            growth.table(),
        ),
    ):
        table = Table(*columns, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        console.print(table)


if __name__ == "__main__":
    main()
