"""One of the processes that learn an experience together; see `ranks`.

The program `python -P -m perdure.strategies.parallel.rank FOLDER RANK PROGRESS`: the folder in
which they meet, its number, and the file descriptor of a pipe that shows how far it is. It ends
with the process that started it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

import safetensors.torch
import torch
import torch.distributed as dist

from perdure import parent, progress
from perdure.config import Config
from perdure.errors import PerdureError
from perdure.progress import Advance
from perdure.quick_exit import quick_exit
from perdure.strategies.learner.learner import Learner
from perdure.strategies.parallel import exchange
from perdure.strategies.parallel.exchange import Rows, Task
from perdure.strategies.parallel.group import Group
from perdure.strategies.training import engine

TIMEOUT = timedelta(minutes=30)
"""How long one may wait for the others; a process that has died is seen at once, by `ranks`."""


def main(folder: Path, rank: int, pipe: int) -> None:
    """Learn a part of every batch; the first process writes the learner."""
    task = Task(**json.loads((folder / exchange.TASK).read_text()))
    config, root = Config.model_validate_json(task.config), Path(task.root)
    learner = Learner.load(folder / exchange.BEFORE, config, root)
    device = torch.device("cuda", rank) if task.gpus else torch.device("cpu")
    if task.gpus:
        torch.cuda.set_device(device)
    first = rank == 0
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if task.gpus else "gloo",
        store=dist.FileStore(str(folder / exchange.STORE), task.size),  # type: ignore[attr-defined]  # torch has no types for it
        rank=rank,
        world_size=task.size,
        timeout=TIMEOUT,
    )
    with progress.reported_by(_reporter(pipe)) if first else nullcontext():
        trained = engine.learn_rows(
            learner,
            task.experience,
            Rows(**safetensors.torch.load_file(folder / exchange.ROWS)),
            config,
            device,
            Group(rank, task.size),
            Path(task.profile) if task.profile and first else None,
        )
    if first:
        learner.save(folder / exchange.AFTER)
        (folder / exchange.TRAINED).write_text(json.dumps(dataclasses.asdict(trained)))
    dist.barrier()
    dist.destroy_process_group()


def _reporter(pipe: int) -> progress.Reporter:
    def say(value: object) -> None:
        os.write(pipe, json.dumps(value).encode() + b"\n")

    @contextmanager
    def reporter(description: str, total: int) -> Iterator[Advance]:
        say([description, total])
        yield say

    return reporter


if __name__ == "__main__":
    parent.end_with(lambda: os._exit(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started it ends it
    place, number = Path(sys.argv[1]), int(sys.argv[2])
    try:
        main(place, number, int(sys.argv[3]))
    except PerdureError as found:
        (place / exchange.failed(number)).write_text(json.dumps(exchange.error(found)))
        os._exit(1)  # what holds the connection to the others would wait for them
    except Exception:  # noqa: BLE001 (whatever it is, it must not wait for the others)
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    quick_exit(0)
