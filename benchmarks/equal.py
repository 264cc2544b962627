"""Whether the fast loop gives the weights of stock Avalanche, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks import stock
from benchmarks.data import IMAGES, NONE, ROOT, configuration, images
from benchmarks.results import Row
from benchmarks.speed import plain, tensors
from perdure.strategies.learner.learner import Learner
from perdure.strategies.training import engine

PART = "equal"
EXPERIENCES, ROWS, SIZE, BATCH, EPOCHS = 3, 1000, 500, 64, 2
STRATEGIES: dict[str, list[Any]] = {
    "naive": ["naive"],
    "replay": [{"name": "replay", "size": SIZE}],
}


def measure(only: str, begins: Callable[[str], object]) -> Iterator[Row]:
    """Of all weights, the share that has the same bits as stock Avalanche's."""
    for name, strategies in STRATEGIES.items():
        if only in name:
            begins(f"{name} beside stock Avalanche")
            yield _row(name, strategies)


def _row(name: str, strategies: list[Any]) -> Row:
    config = configuration(strategies, hidden=[400, 400], epochs=EPOCHS, batch_size=BATCH)
    cpu = torch.device("cpu")
    learner = Learner.new(IMAGES, config, ROOT, *images(ROWS, 0))
    parts = [tensors(learner, images(ROWS, number), cpu) for number in range(EXPERIENCES)]
    agent = stock.strategy(name, plain(learner, cpu), SIZE, BATCH, EPOCHS)
    state = torch.get_rng_state()
    try:
        torch.set_rng_state(learner.streams["random.torch"].tensors["state"])
        stock.learned(agent, parts)
    finally:
        torch.set_rng_state(state)
    for number in range(EXPERIENCES):
        engine.learn(learner, str(number), *images(ROWS, number), *NONE, config)
    pairs = zip(learner.model.parameters(), agent.model.parameters(), strict=True)
    same = [(ours == theirs).flatten() for ours, theirs in pairs]
    equal = torch.cat(same).float().mean().item()
    return Row(
        part=PART,
        name=name,
        value=equal,
        target=1.0,
        unit="of all weights",
        note=f"{sum(map(len, same)):,} weights after {EXPERIENCES} experiences",
    )
