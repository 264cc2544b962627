"""Saving and loading a learner, and whether its weights are those of stock Avalanche."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks import stock
from benchmarks.data import IMAGES, NONE, ROOT, configuration, images
from benchmarks.measure import Job, in_turns
from benchmarks.results import Row
from benchmarks.speed import plain, tensors
from perdure.strategies.learner.learner import Learner
from perdure.strategies.training import engine

PART = "files"
SAVE, LOAD = "save", "load"
IMAGES_KEPT = 5000
CPU = torch.device("cpu")


def measure(only: str, clock: str, begins: Callable[[str], object]) -> Iterator[Row]:
    """Milliseconds of saving and of loading."""
    if only not in SAVE and only not in LOAD:
        return
    begins(f"saving and loading {IMAGES_KEPT:,} pictures")
    config = configuration(
        [{"name": "replay", "size": IMAGES_KEPT}], hidden=[400, 400], epochs=1, batch_size=256
    )
    rows = images(IMAGES_KEPT, 0)
    learner = Learner.new(IMAGES, config, ROOT, *rows)
    engine.learn(learner, "first", *rows, *NONE, config)
    count = sum(parameter.numel() for parameter in learner.model.parameters())
    with tempfile.TemporaryDirectory() as folder:
        numbers = iter(range(10**6))

        def place() -> Path:
            return Path(folder) / str(next(numbers))

        saved = place()
        learner.save(saved)
        size = sum(path.stat().st_size for path in saved.iterdir())
        turns = in_turns(
            {
                SAVE: Job(lambda to: learner.save(to), place),
                LOAD: Job(lambda _: Learner.load(saved, config, ROOT, IMAGES)),
            },
            repeats=15,
            clock=clock,
        )
    beside = _stock_saves(learner)
    for name in (SAVE, LOAD):
        if only in name:
            yield Row(
                part=PART,
                name=name,
                value=1000 * turns.median(name),
                target=50.0,
                most=True,
                unit="ms",
                repeats=tuple(1000 * seconds for seconds in turns.seconds[name]),
                beside=beside,
                note=f"{count:,} parameters with Adam's state, {IMAGES_KEPT:,} pictures; "
                f"{size / 2**20:.1f} MiB on disk",
            )


def _stock_saves(learner: Learner) -> str:
    """What comes of Avalanche's own `save_checkpoint` on these versions."""
    from avalanche.checkpointing.checkpoint import save_checkpoint

    agent = stock.strategy("replay", plain(learner, CPU), 100, 64, 1)
    stock.learned(agent, [tensors(learner, images(200, 0), CPU)])
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True):
        try:
            save_checkpoint(agent, Path(folder) / "checkpoint")
        except Exception as error:  # noqa: BLE001 (whatever stops it is its result)
            return f"fails: {type(error).__name__}"
        size = (Path(folder) / "checkpoint").stat().st_size
    return f"{size / 2**20:.1f} MiB"
