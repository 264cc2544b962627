"""Whether what an experience costs, and what is kept, grow with the experiences before it."""

from __future__ import annotations

import copy
import gc
import statistics
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks import stock
from benchmarks.data import IMAGES, NONE, ROOT, Table, configuration, images
from benchmarks.measure import Job, in_turns
from benchmarks.results import Row
from benchmarks.speed import plain, tensors
from perdure.config import Config
from perdure.strategies.learner.learner import Learner
from perdure.strategies.training import engine

PART = "growth"
MANY, HELD, SMALL = 40, 50, 256
STEP, SIZE, MEMORY = "ewc, a step", "ewc, size of its state", "replay, memory held"
NAMES = (STEP, SIZE, MEMORY)
CPU = torch.device("cpu")


def measure(only: str, clock: str, begins: Callable[[str], object]) -> Iterator[Row]:
    """After many experiences, to after one."""
    if any(only in name for name in (STEP, SIZE)):
        begins(f"ewc after {MANY} experiences")
        yield from (row for row in _ewc(clock) if only in row.name)
    if only in MEMORY:
        begins(f"{MEMORY} after {HELD} experiences")
        yield _replay()


def _ewc(clock: str) -> Iterator[Row]:
    """Time of a step and size of the state: ours, and stock Avalanche's in its separate mode."""
    config = configuration(["ewc"], hidden=[400, 400], epochs=1, batch_size=64)
    learner = Learner.new(IMAGES, config, ROOT, *images(SMALL, 0))
    network = plain(learner, CPU)
    agent = stock.strategy("ewc", network, 0, 64, 1)
    ours: dict[int, Learner] = {}
    theirs: dict[int, Any] = {}
    for number in range(1, MANY + 1):
        rows = images(SMALL, number)
        engine.learn(learner, str(number), *rows, *NONE, config)
        stock.learned(agent, [tensors(learner, rows, CPU)], number - 1)
        if number in (1, MANY):
            ours[number] = copy.deepcopy(learner)
            theirs[number] = stock.copied(agent)
    # Many steps over few rows: the Fisher information once an experience is no part of a step.
    new = images(SMALL, 99)
    long = configuration(["ewc"], hidden=[400, 400], epochs=25, batch_size=64)
    jobs = {f"ours {number}": _more(one, new, long) for number, one in ours.items()}
    for number, one in theirs.items():
        one.train_epochs = 25
        jobs[f"stock {number}"] = stock.job(one, tensors(learner, new, CPU), number)
    turns = in_turns(jobs, clock=clock)
    ratios = turns.ratios(f"ours {MANY}", "ours 1")
    yield Row(
        part=PART,
        name=STEP,
        value=statistics.median(ratios),
        target=1.1,
        most=True,
        unit=f"of after 1, after {MANY}",
        repeats=tuple(ratios),
        beside=f"{statistics.median(turns.ratios(f'stock {MANY}', 'stock 1')):.1f}",
    )
    sizes = {n: _bytes(one.memory["ewc"].tensors.values()) for n, one in ours.items()}
    stocks = {n: _bytes(_within(one.plugins[0].__dict__)) for n, one in theirs.items()}
    yield Row(
        part=PART,
        name=SIZE,
        value=sizes[MANY] / sizes[1],
        target=1.0,
        most=True,
        unit=f"of after 1, after {MANY}",
        beside=f"{stocks[MANY] / stocks[1]:.1f}",
        note=f"{sizes[MANY] / 2**20:.1f} MiB; stock {stocks[MANY] / 2**20:.0f} MiB",
    )


def _more(learner: Learner, rows: Table, config: Config) -> Job:
    def run(one: Learner) -> None:
        engine.learn(one, "next", *rows, *NONE, config)

    return Job(run, lambda: copy.deepcopy(learner))


def _within(value: Any) -> Iterator[Tensor]:
    """The tensors in dictionaries, lists and Avalanche's own holders of parameters."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _within(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _within(item)
    elif hasattr(value, "_data"):
        yield value._data  # noqa: SLF001 (ParamData of avalanche-lib 0.6.0 offers views only)


def _replay() -> Row:
    """Bytes of all tensors that live beside the model, to those of the rows in the memory."""
    size = 1000
    config = configuration(
        [{"name": "replay", "size": size}], hidden=[16], epochs=1, batch_size=256
    )
    before = _live()
    learner = Learner.new(IMAGES, config, ROOT, *images(size, 0))
    for number in range(HELD):
        engine.learn(learner, str(number), *images(size, number), *NONE, config)
    rows = _bytes(learner.memory["replay"].tensors.values())
    model = _bytes(t for name, part in learner.parts().items() if not name.startswith("memory.")
                   for t in part.tensors.values())  # fmt: skip
    held = _live() - before - model
    network = plain(learner, CPU)
    first = learner
    del learner
    before = _live()
    agent = stock.strategy("replay", network, size, 256, 1)
    parameters = _bytes(agent.model.parameters())
    for number in range(HELD):
        stock.learned(agent, [tensors(first, images(size, number), CPU)], number)
    one = first.memory["replay"].tensors["x"][:1].numel() * 4 + 2 * 8  # float32, y and task label
    beside = (_live() - before - 3 * parameters) / (size * one)
    return Row(
        part=PART,
        name=MEMORY,
        value=held / rows,
        target=1.2,
        most=True,
        unit=f"of the memory's own bytes, after {HELD}",
        beside=f"{beside:.0f}",
        note=f"{size:,} rows of {size:,} in an experience; {held / 2**20:.1f} MiB, "
        f"all tensors in the process but the model's and the optimizer's",
    )


def _bytes(found: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in found)


def _live() -> int:
    """Bytes of the storage of every tensor that Python can still reach, each once."""
    gc.collect()
    storages: dict[int, int] = {}
    with warnings.catch_warnings(record=True):  # some old names of torch warn when looked at
        for thing in gc.get_objects():
            if type(thing).__module__.startswith("torch") or type(thing) is Tensor:
                for tensor in _of(thing):
                    storage = tensor.untyped_storage()
                    storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _of(thing: Any) -> Iterator[Tensor]:
    if isinstance(thing, Tensor):
        yield thing
        if thing.grad is not None:
            yield thing.grad
