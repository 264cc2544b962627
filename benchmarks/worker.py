"""Learns experiences, each in a process of its own.

    python -m benchmarks.worker

A line of JSON comes in for each experience: what to learn, and the folder that the learner comes
from and goes to. This process imports what is needed, once, for that takes seconds, and then forks
for every line: the new process has learned nothing, loads the learner, learns, saves it, says what
it measured, and ends. A line of JSON comes back: what it said, and what it cost.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch

from benchmarks.data import ROOT, mnist
from benchmarks.streams import Side, Stream
from perdure.config import Config
from perdure.errors import Fault
from perdure.strategies.learner.learner import Learner
from perdure.strategies.training import engine


def step(job: dict[str, Any]) -> dict[str, Any]:
    """Learn one experience, from the learner before it to the one after it.

    Args:
        job: `stream`, `config`, `folder`, `number`; `dropped`: the strategy's memory is lost on
            the way; `measured`: the side whose rows of all experiences are predicted, or null.

    Returns:
        `seconds` of learning, `memory` in bytes, and `accuracy` where it was measured; or
        `diverged`, with the words of the engine.
    """
    stream, config = Stream(**job["stream"]), Config.model_validate(job["config"])
    folder, number = Path(job["folder"]), int(job["number"])
    rows = stream.table(number, "train")
    if number == 0:
        learner = Learner.new(stream.spec, config, ROOT, rows[0])
    else:
        learner = Learner.load(folder / str(number - 1), config, ROOT, stream.spec)
    if job["dropped"]:
        learner.memory = {}
    columns, target = rows
    none = {name: values[:0] for name, values in columns.items()}
    start = time.process_time()
    try:
        engine.learn(learner, str(number), columns, target, none, target[:0], config)
    except Fault as fault:
        return {"diverged": str(fault)}
    seconds = time.process_time() - start
    learner.save(folder / str(number))
    result: dict[str, Any] = {"seconds": seconds, "memory": _bytes(learner)}
    if job["measured"]:
        result["accuracy"] = accuracy(learner, stream, job["measured"])
    return result


def accuracy(learner: Learner, stream: Stream, side: Side) -> float:
    """Share of the rows of all experiences that are predicted right."""
    right = total = 0
    for columns, target in stream.tables(side):
        found = learner.predict(columns).argmax(axis=1)
        right += int((found == target).sum())
        total += len(target)
    return right / total


def _bytes(learner: Learner) -> int:
    states = learner.memory.values()
    return sum(t.numel() * t.element_size() for state in states for t in state.tensors.values())


def _forked(job: dict[str, Any]) -> dict[str, Any]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            os.write(writer, json.dumps(step(job)).encode())
            code = 0
        except BaseException:  # noqa: BLE001 (whatever it is: this process must end here)
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        output = pipe.read()
    _, status, usage = os.wait4(child, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        return {"failed": f"experience {job['number']} of {job['stream']['kind']}"}
    return {**json.loads(output), "cpu": usage.ru_utime + usage.ru_stime}


def main() -> None:
    """Answer line by line, until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what anything prints is no answer
    torch.set_num_threads(1)
    mnist()
    for line in sys.stdin:
        answers.write(json.dumps(_forked(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
