"""Rows learned a second, against a plain PyTorch loop of the same mathematics.

Ours is the whole of `engine.learn`, from raw columns to a learner that could be saved: encoding,
preparing and moving the rows, a copy of the learner, the loop, the strategy's work before and
after it, the loss of every epoch, and everything put back on the CPU. The plain loop (`raw`) begins
with float32 tensors on the device and ends with the last step. So the ratio is a lower bound.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from benchmarks import stock
from benchmarks.cases import CASES, MEAN, Case
from benchmarks.data import ROOT, Table, configuration
from benchmarks.measure import Job, in_turns
from benchmarks.raw import LOOPS, Raw
from benchmarks.results import Row
from perdure.strategies import catalogue
from perdure.strategies.features.encoding import encode, encode_target
from perdure.strategies.learner.learner import Learner
from perdure.strategies.training import engine

PART = "speed"
PAST = 6000
"""Rows of the experiences before, all together: more than any memory holds."""


def measure(
    only: str, device: torch.device, clock: str, begins: Callable[[str], object]
) -> Iterator[Row]:
    """One row for each case, then their geometric mean.

    Args:
        only: Cases whose name contains this.
        device: Where to learn.
        clock: Of `measure.CLOCKS`.
        begins: Called with the name of a case that begins.
    """
    known = catalogue.discover()
    found: list[float] = []
    for case in CASES:
        if only not in case.name or case.strategy not in known:
            continue
        begins(case.name)
        row = _row(case, device, clock)
        if not case.table and row.value is not None:
            found.append(row.value)
        yield row
    if found and not only:
        yield Row(
            part=PART,
            name=MEAN,
            value=statistics.geometric_mean(found),
            target=0.95,
            unit="of raw",
            note=f"of the {len(found)} rows of the MLP",
        )


def _row(case: Case, device: torch.device, clock: str) -> Row:
    jobs, failed = jobs_of(case, device)
    turns = in_turns(jobs, clock=clock, device=device)
    ratios = turns.ratios("raw", "ours")
    count, epochs = case.size
    rate = count * epochs / turns.median("ours")
    beside = failed
    if not failed:
        beside = f"{statistics.median(turns.ratios('raw', 'stock')):.2f}"
    return Row(
        part=PART,
        name=case.name,
        value=statistics.median(ratios),
        target=case.target,
        unit="of raw",
        repeats=tuple(ratios),
        beside=beside,
        note=f"{rate:,.0f} rows/s",
    )


def jobs_of(case: Case, device: torch.device) -> tuple[dict[str, Job], str]:
    """Ours, the plain loop's and stock Avalanche's; and why the last is not there."""
    count, epochs = case.size
    config = configuration(
        [{"name": case.strategy, **case.settings}],
        hidden=case.hidden,
        epochs=epochs,
        batch_size=case.batch,
        device=str(device),
    )
    past = [case.rows(PAST // case.past, 1 + number) for number in range(case.past)]
    new = case.rows(count, 0)
    learner = Learner.new(case.spec, config, ROOT, *past[0])
    first = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 1})})
    for number, rows in enumerate(past):
        engine.learn(learner, str(number), *rows, *case.none, first)

    def ours(one: Learner) -> None:
        engine.learn(one, "next", *new, *case.none, config)

    x, y = tensors(learner, new, device)
    before = [tensors(learner, rows, device) for rows in past]
    held_x, held_y = (torch.cat(parts)[: case.memory] for parts in zip(*before, strict=True))
    network = plain(learner, device)

    def raw() -> Raw:
        return Raw(copy.deepcopy(network), x, y, epochs, case.batch, held_x, held_y)

    jobs = {
        "raw": Job(LOOPS[case.strategy], raw),
        "ours": Job(ours, lambda: copy.deepcopy(learner)),
    }
    try:
        agent = stock.strategy(case.strategy, network, case.memory, case.batch, 1)
        stock.learned(agent, before)
        agent.train_epochs = epochs
        jobs["stock"] = stock.job(agent, (x, y), case.past)
        jobs["stock"].ready()
    except Exception as error:  # noqa: BLE001 (whatever stops stock Avalanche is its result)
        jobs.pop("stock", None)
        return jobs, f"fails: {type(error).__name__}"
    return jobs, ""


def tensors(learner: Learner, rows: Table, device: torch.device) -> tuple[Tensor, Tensor]:
    """What a network of linear layers alone needs: float32 (rows, inputs), standardised, and y."""
    columns, target = rows
    x = learner.prepare(encode(learner.spec, columns))
    if learner.spec.kind == "image":
        x = (x.to(torch.float32) - learner.model.mean) / learner.model.scale
    return x.flatten(1).to(device), encode_target(learner.spec, target).to(device)


def plain(learner: Learner, device: torch.device) -> nn.Sequential:
    """The learner's layers, without what stands in front of them."""
    body = cast(nn.Sequential, learner.model.body)
    layers = [copy.deepcopy(layer) for layer in body if not isinstance(layer, nn.Flatten)]
    return nn.Sequential(*layers).to(device).train()
