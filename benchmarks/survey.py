"""Every strategy with its default settings on the same two short streams, for who must choose.

Ten passes over experiences of 2,000 rows of MNIST, batches of 64, Adam: in one stream each of the
five experiences brings two new digits, in the other the inputs change and the classes stay. Each
experience is learned in a fresh process. Nothing is tuned, so these are no bounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

from benchmarks import chains
from benchmarks.chains import Chain, Outcome
from benchmarks.data import configuration, mnist_file
from benchmarks.results import Row
from benchmarks.scenarios import SEEDS
from benchmarks.streams import Kind, Stream
from perdure.strategies import catalogue

PART = "survey"
ROWS, EXPERIENCES = 2000, 5
STREAMS: dict[str, Kind] = {"classes": "split", "inputs": "permuted"}
"""Figures by name: new classes, and inputs that change."""


def combinations() -> list[tuple[str, ...]]:
    """Every strategy that fits, and every pair that combines."""
    known = {n: s for n, s in catalogue.discover().items() if "classification" in s.fits}
    pairs = [(n, other) for n, s in known.items() for other in sorted(s.combines) if n < other]
    return [("naive",), *((n,) for n in known if n != "naive"), *pairs]


def measure(only: str, begins: Callable[[str, int], Callable[[int], None]]) -> Iterator[Row]:
    """One row for each strategy, and for each pair that combines."""
    if not mnist_file().exists():
        return
    wanted = [names for names in combinations() if only in _name(names) or names == ("naive",)]
    asked = [
        Chain(
            Stream(kind, EXPERIENCES, seed, rows=ROWS),
            configuration(list(names), hidden=[100, 100], seed=seed, epochs=10, batch_size=64),
        )
        for names in wanted
        for kind in STREAMS.values()
        for seed in SEEDS
    ]
    count = begins("every strategy", len(asked) * EXPERIENCES)
    outcomes = iter(chains.learn(asked, count))
    naive = 0.0
    for names in wanted:
        found = {figure: [next(outcomes) for _ in SEEDS] for figure in STREAMS}
        seconds = statistics.median(one.seconds for one in _all(found))
        naive = naive or seconds
        if only in _name(names):
            yield _row(names, found, seconds / naive)


def _name(names: tuple[str, ...]) -> str:
    return " + ".join(names)


def _all(found: dict[str, list[Outcome]]) -> list[Outcome]:
    return [outcome for outcomes in found.values() for outcome in outcomes]


def _row(names: tuple[str, ...], found: dict[str, list[Outcome]], time: float) -> Row:
    figures = {figure: chains.mean(outcomes) for figure, outcomes in found.items()}
    return Row(
        part=PART,
        name=_name(names),
        value=None,
        figures={
            **figures,
            "time": time,
            "bytes": float(max(one.memory for one in _all(found))),
        },
    )
