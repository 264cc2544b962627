"""Drift of known size and place: how soon it is called, and how often nothing is called drift."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.results import Row
from perdure.config import DriftConfig
from perdure.records import Drift
from perdure.tasks import drift

PART = "decisions"
NUMBERS, ROWS, TEST = 6, 400, 5
"""Number columns, rows of a file, and of how many rows one is a test row."""
AT = (1, 2, 4, 8, 12, 20)
"""Experiences learned when a stream without drift is looked at."""
STREAMS, INJECTED = 16, 8
"""Streams of each kind without drift, and for each size of an injected one."""
BEFORE, PATIENCE = 12, 6
"""Experiences before the drift, and how many are waited for it to be called."""
SIZES = (0.25, 0.5, 1.0, 2.0)
"""Shifts of one column, in standard deviations within a file."""
FAULTS = ("× -50", "× 1000", "constant", "all missing", "swapped")
"""What is done to a column of the file after those."""
Cells = NDArray[np.float64]


def _same(draw: np.random.Generator, number: int, state: Cells) -> Cells:
    return draw.normal(size=(ROWS, NUMBERS))


def _effects(draw: np.random.Generator, number: int, state: Cells) -> Cells:
    return draw.normal(size=(ROWS, NUMBERS)) + 0.4 * draw.normal(size=NUMBERS)


def _between(draw: np.random.Generator, number: int, state: Cells) -> Cells:
    state[:] = 0.7 * state + np.sqrt(1 - 0.49) * draw.normal(size=NUMBERS)
    return draw.normal(size=(ROWS, NUMBERS)) + 0.3 * state


def _within(draw: np.random.Generator, number: int, state: Cells) -> Cells:
    noise, found = draw.normal(size=(ROWS, NUMBERS)), np.empty((ROWS, NUMBERS))
    for row in range(ROWS):
        state[:] = 0.9 * state + np.sqrt(1 - 0.81) * noise[row]
        found[row] = state
    return found


def _heavy(draw: np.random.Generator, number: int, state: Cells) -> Cells:
    return draw.standard_t(1.2, size=(ROWS, NUMBERS)) * np.exp(0.1 * draw.normal(size=NUMBERS))


def _season(draw: np.random.Generator, number: int, state: Cells) -> Cells:
    year = 2 * np.sin(2 * np.pi * np.arange(ROWS) / ROWS)
    return np.asarray(draw.normal(size=(ROWS, NUMBERS)) + year[:, None])


KINDS: dict[str, Callable[[np.random.Generator, int, Cells], Cells]] = {
    "independent rows": _same,
    "each file has its own level": _effects,
    "levels follow each other, AR(1) 0.7": _between,
    "rows follow each other, AR(1) 0.9": _within,
    "heavy tails (t, 1.2 degrees)": _heavy,
    "a season within each file": _season,
}


def rows(progress: Callable[[str], object] = lambda _: None) -> list[Row]:
    """Every row of the simulation, about a minute on one core.

    Args:
        progress: Called with what is being done.
    """
    return list(measure("", progress))


def measure(only: str, progress: Callable[[str], object]) -> Iterator[Row]:
    """The rows whose name contains `only`, as soon as each is there."""
    alarms = []
    for name, make in KINDS.items():
        if only in (full := f"drift, false alarms: {name}"):
            progress(full)
            alarms.append(_false_alarms(full, make))
            yield alarms[-1]
    if len(alarms) == len(KINDS):
        yield _together(alarms)
    for size in SIZES:
        if only in (full := f"drift, delay: a column moves by {size:g} deviations"):
            progress(full)
            yield _delay(full, size)
    for fault in FAULTS:
        if only in (full := f"drift, broken: {fault}"):
            progress(full)
            yield _found(full, fault)


def files(make: Callable[..., Cells], seed: int, count: int) -> list[pd.DataFrame]:
    """A stream: number columns of a kind, a word with ten values, a target with two."""
    draw = np.random.default_rng(seed)
    state, found = draw.normal(size=NUMBERS), []
    for number in range(count):
        table = pd.DataFrame(make(draw, number, state), columns=[f"x{j}" for j in range(NUMBERS)])
        table["word"] = draw.choice(list("abcdefghij"), ROWS, p=np.arange(1, 11) / 55)
        table["y"] = draw.choice(["no", "yes"], ROWS, p=[0.8, 0.2])
        found.append(table)
    return found


def compared(learned: list[pd.DataFrame], arriving: pd.DataFrame) -> Drift:
    """What Perdure would say of a file, with every default."""
    parts = [f[number % TEST :: TEST] for number, f in enumerate(learned)]
    owners = [part.assign(_experience=f"{n:06d}-x") for n, part in enumerate(parts)]
    columns = [(f"x{j}", "number") for j in range(NUMBERS)] + [("word", "category")]
    known = pd.concat(owners, ignore_index=True)
    return drift.measure(known, arriving, columns, DriftConfig(), target=("y", "classification"))


def _false_alarms(name: str, make: Callable[..., Cells]) -> Row:
    levels = []
    for seed in range(STREAMS):
        stream = files(make, 1000 + seed, max(AT) + 1)
        levels += [compared(stream[:past], stream[past]).level for past in AT]
    return Row(
        part=PART,
        name=name,
        value=sum(level != "as ever" for level in levels) / len(levels),
        unit="of the experiences",
        figures={
            "experiences": len(levels),
            "broken": levels.count("broken"),
        },
    )


def _together(alarms: list[Row]) -> Row:
    """All kinds: one kind alone has too few experiences to tell a rate of 1 % from none."""
    count = sum(row.figures["experiences"] for row in alarms)
    called = sum((row.value or 0.0) * row.figures["experiences"] for row in alarms)
    return Row(
        part=PART,
        name="drift, false alarms: all kinds",
        value=called / count,
        target=0.01,
        most=True,
        unit="of the experiences",
        figures={"experiences": count, "broken": sum(row.figures["broken"] for row in alarms)},
    )


def _delay(name: str, size: float) -> Row:
    """Experiences until the drift is called, of streams whose files have levels of their own."""
    delays: list[float] = []
    early = 0
    for seed in range(INJECTED):
        stream = files(_own_levels, 5000 + seed, BEFORE + PATIENCE)
        early += compared(stream[: BEFORE - 1], stream[BEFORE - 1]).level != "as ever"
        for later in stream[BEFORE:]:
            later["x0"] += size
        delays.append(_waited(stream))
    called = sum(delay < PATIENCE for delay in delays)
    return Row(
        part=PART,
        name=name,
        value=statistics.median(delays) if called * 2 > len(delays) else None,
        unit="experiences learned before it is called, median",
        repeats=tuple(delays),
        figures={"called": called / len(delays), "called before": early / len(delays)},
        note="" if called * 2 > len(delays) else f"most are not called within {PATIENCE}",
    )


def _own_levels(draw: np.random.Generator, number: int, state: Cells) -> Cells:
    return draw.normal(size=(ROWS, NUMBERS)) + 0.05 * draw.normal(size=NUMBERS)


def _waited(stream: list[pd.DataFrame]) -> int:
    for past in range(BEFORE, BEFORE + PATIENCE):
        found = compared(stream[:past], stream[past])
        if any(one.column == "x0" for one in (*found.drifting, *found.broken)):
            return past - BEFORE
    return PATIENCE


def _found(name: str, fault: str) -> Row:
    """Share of the spoiled experiences that are held."""
    held = []
    for seed in range(INJECTED):
        stream = files(_effects, 9000 + seed, BEFORE + 1)
        for number, table in enumerate(stream):
            table["x0"], table["x1"] = table["x0"] + 12, 3 * table["x1"] - 9
            if number == BEFORE:
                _spoil(table, fault)
        found = [compared(stream[:past], stream[BEFORE]).level for past in (1, BEFORE)]
        held += [level == "broken" for level in found]
    return Row(
        part=PART,
        name=name,
        value=sum(held) / len(held),
        target=1.0,
        unit="held before they are learned",
        figures={"experiences": len(held)},
    )


def _spoil(table: pd.DataFrame, fault: str) -> None:
    x0 = table["x0"].copy()
    if fault == "swapped":
        table["x0"], table["x1"] = table["x1"], x0
        return
    if fault == "constant":
        table["x0"] = 11.5
    elif fault == "all missing":
        table["x0"] = np.nan
    else:
        table["x0"] = x0 * float(fault.removeprefix("× "))
