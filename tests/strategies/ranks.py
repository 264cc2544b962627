"""What several processes learn together: the same program is each of them, and one alone.

`python -m tests.strategies.ranks FOLDER RANK SIZE`
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from perdure.config import Config, Task
from perdure.errors import Fault
from perdure.records import Trained
from perdure.strategies.features.columns import Column, FeatureSpec
from perdure.strategies.learner.learner import Learner
from perdure.strategies.parallel.exchange import Rows
from perdure.strategies.parallel.group import Group, OtherFailed
from perdure.strategies.training import engine
from tests.strategies.small import CASES, ROOT, VARIANTS, config_of, spec_of, table, variant

CPU = torch.device("cpu")
ROWS = (61, 49, 34)
"""Of three experiences: the last batches of 16 have 13, 1 and 2 rows."""
PLAIN: dict[str, Any] = {
    "model": {"parameters": {"hidden": [8]}},  # without dropout, whose draws are each process's own
    "optimizer": {"name": "sgd", "momentum": 0.5},
    "learning_rate": 0.005,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam", "learning_rate": 1e-3},
    "weights of classes": {"class_weights": "balanced", "label_smoothing": 0.1},
    "groups of batches": {"accumulate": 3, "clip_norm": 0.5, "l1": 1e-3},
    "stopping": {"epochs": 30, "patience": 3, "schedule": {"name": "plateau", "patience": 1}},
    "bfloat16": {"precision": "bfloat16"},
    "heads": {"model": {"heads": "colour", "parameters": {"hidden": [8]}}},
}
"""Further ways to learn, with the strategies of `WITH`."""
WITH = ["lwf", {"name": "replay", "size": 40, "batch_size": 11}]
PICTURES = FeatureSpec(
    (Column("picture", "image", shape=(8, 8, 3)),), "y", "classification", ("a", "b")
)
KEEPS = """
import torch
from torch import nn

class Keeps(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.line = nn.Linear(inputs, outputs)
        self.register_buffer("seen", torch.zeros(inputs))

    def forward(self, x):
        if self.training:
            self.seen += x.detach().sum(0)
        return self.line(x)

def make(inputs, outputs):
    return Keeps(inputs, outputs)
"""
LATE = """
from torch import nn

class Late(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.first, self.other = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs)
        self.calls = 0

    def forward(self, x):
        if self.training:
            self.calls += 1
        return self.first(x) if self.calls < 3 else self.first(x) + self.other(x)

def make(inputs, outputs):
    return Late(inputs, outputs)
"""
BROKEN = {"keeps": KEEPS, "late": LATE}
"""Models that several processes cannot train, by the name of their file."""


class MeanOfMeans(Group):
    """The mistake that the tests must see: each process's mean counts alike, however many rows."""

    def whole(self, part: Tensor, rows: int) -> Tensor:
        """The same numbers, with a gradient that is wrong where shares differ in size."""
        mine = self.share(rows)
        wrong = rows / (self.size * max(1, mine.stop - mine.start))
        return super().whole(part * wrong + (part * (1 - wrong)).detach(), rows)


def configured(name: str) -> tuple[Config, Task]:
    """The configuration and the task of what is learned under a name."""
    case, _, task = name.partition(": ")
    if case in SETTINGS:
        return config_of(WITH, **{**PLAIN, **SETTINGS[case]}), "classification"
    strategies = variant(case) if case in VARIANTS else CASES[case]
    kind: Task = "regression" if task == "regression" else "classification"
    return config_of(strategies, kind, **PLAIN), kind


NAMES = [
    *CASES,
    *(f"{case}: regression" for case in ("naive", "ewc", "lwf", "der++")),
    *VARIANTS,
    *SETTINGS,
]


def learned(config: Config, task: Task, group: Group) -> tuple[Learner, list[Trained]]:
    """Learn three experiences, one process of a group."""
    learner, trained = Learner.new(spec_of(task), config, ROOT, *table(0, task, ROWS[0])), []
    for number, count in enumerate(ROWS):
        rows = engine.encoded(
            learner, *table(number, task, count), *table(100 + number, task, rows=21)
        )
        trained.append(engine.learn_rows(learner, str(number), rows, config, CPU, group))
    return learner, trained


def pictures(group: Group, **more: Any) -> Learner:
    """Learn two experiences of images."""
    model = {"factory": "cnn", "parameters": {"widths": [8]}}
    config = config_of(["replay"], **{**PLAIN, "model": model, **more})
    draw = torch.Generator().manual_seed(0)
    learner = None
    for number in range(2):
        x = torch.randint(0, 256, (37, 3, 8, 8), dtype=torch.uint8, generator=draw)
        y = torch.randint(0, 2, (37,), generator=draw)
        if learner is None:
            pixels = {"picture": x.permute(0, 2, 3, 1).numpy()}
            learner = Learner.new(PICTURES, config, ROOT, pixels)
        engine.learn_rows(learner, str(number), Rows(x, y, x[:5], y[:5]), config, CPU, group)
    assert learner is not None
    return learner


def broken(name: str, root: Path, group: Group) -> str:
    """The message for a model that cannot be trained so."""
    model = {"factory": f"{name}.py:make"}
    config = config_of(["naive"], **{**PLAIN, "model": model})
    columns, target = table(0, rows=33)
    learner = Learner.new(spec_of(), config, root, columns, target)
    rows = engine.encoded(learner, columns, target, *table(100, rows=4))
    try:
        engine.learn_rows(learner, "0", rows, config, CPU, group)
    except Fault as error:
        return error.message
    except OtherFailed:
        return "as the other says"
    return ""


def from_torch(group: Group) -> float:
    """How far the gradients of a batch in equal shares are from those of torch's own way."""
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)))
    x, y = torch.randn(32, 5), torch.randint(0, 3, (32,))
    mine, loss = group.share(32), nn.CrossEntropyLoss()
    loss(group.whole(models[0](x[mine]), 32), y).backward()
    group.sum_gradients(models[0])
    theirs = nn.parallel.DistributedDataParallel(models[1])  # must outlive the backward pass
    loss(theirs(x[mine]), y[mine]).backward()
    pairs = zip(*(model.parameters() for model in models), strict=True)
    return max(float((a.grad - b.grad).abs().max()) for a, b in pairs)


def everything(size: int, rank: int, keep: Callable[[str, Learner, list[Trained]], None]) -> None:
    """Learn all of `NAMES` and the images."""
    group = Group(rank, size)
    for name in NAMES:
        keep(name, *learned(*configured(name), group))
    keep("pictures", pictures(group), [])


def main(folder: Path, rank: int, size: int) -> None:
    """Be one of the processes; each writes what it has learned."""
    store = dist.FileStore(str(folder / "store"), size)  # type: ignore[attr-defined]  # torch's own
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    group = Group(rank, size)

    def keep(name: str, learner: Learner, trained: list[Trained]) -> None:
        place = folder / str(rank) / name
        learner.save(place / "learner")
        (place / "trained.json").write_text(json.dumps([dataclasses.asdict(t) for t in trained]))

    everything(size, rank, keep)
    config, task = configured("naive")
    keep("control", *learned(config, task, MeanOfMeans(rank, size)))
    dropout = config_of(CASES["replay"], **{**PLAIN, "model": {"parameters": {"dropout": 0.5}}})
    for name in ("dropout", "dropout again"):
        keep(name, *learned(dropout, "classification", group))
    for name in ("augmented", "augmented again"):
        keep(name, pictures(group, augmentation={"crop": 2, "flip": True}), [])
    (folder / str(rank) / "torch.json").write_text(json.dumps(from_torch(Group(rank, size))))
    result = {name: broken(name, folder, group) for name in BROKEN}
    (folder / str(rank) / "broken.json").write_text(json.dumps(result))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
