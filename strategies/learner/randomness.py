"""The random streams that training draws from: torch, its accelerator, numpy, Python.

Each is one for the whole process, and Python's is drawn from by threads that know nothing of
training: the websockets of Prefect's events and logs take the mask of every message from it.
So a thread that trains has one of its own (ADR 24).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

from perdure.strategies.learner.state import State, on_cpu

TORCH, NUMPY, PYTHON = "random.torch", "random.numpy", "random.python"

_PROCESS: random.Random = random.random.__self__  # type: ignore[attr-defined]  # a bound method
"""Python's stream that all threads share; that of `random.random` and the others."""
_here = threading.local()
"""Has this thread's own as `stream`, while it trains."""


def seed(value: int, device: torch.device) -> None:
    """Start every stream of this process from one number, 0 to below 2³²."""
    torch.default_generator.manual_seed(value)
    if device.type != "cpu":
        with _current(device):
            _accelerator(device).manual_seed(value)
    np.random.seed(value)
    _each(lambda stream: stream.seed(value))


def capture(device: torch.device) -> dict[str, State]:
    """The state of every stream, as parts of a learner."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, words, gauss_next = _stream().getstate()
    states = {
        TORCH: State({"state": torch.get_rng_state().clone()}),
        NUMPY: State(
            {"keys": torch.from_numpy(np.asarray(keys, dtype=np.int64))},
            {"name": name, "position": position, "has_gauss": has_gauss, "gauss": gauss},
        ),
        PYTHON: State(
            {"words": torch.tensor(words, dtype=torch.int64)},
            {"version": version, "gauss_next": gauss_next},
        ),
    }
    if device.type != "cpu":
        with _current(device):
            states[f"random.{device.type}"] = State(
                {"state": on_cpu(_accelerator(device).get_rng_state())}
            )
    return states


def restore(states: Mapping[str, State], device: torch.device) -> None:
    """Set every stream to a captured state.

    An accelerator that the states know nothing of keeps the stream that it has.
    """
    torch.set_rng_state(states[TORCH].tensors["state"])
    numpy, python = states[NUMPY], states[PYTHON]
    np.random.set_state(
        (
            numpy.values["name"],
            numpy.tensors["keys"].numpy().astype(np.uint32),
            numpy.values["position"],
            numpy.values["has_gauss"],
            numpy.values["gauss"],
        )
    )
    words = tuple(python.tensors["words"].tolist())
    state = python.values["version"], words, python.values["gauss_next"]
    _each(lambda stream: stream.setstate(state))
    here = states.get(f"random.{device.type}")
    if device.type != "cpu" and here is not None:
        with _current(device):
            _accelerator(device).set_rng_state(here.tensors["state"])


@contextmanager
def isolated(device: torch.device) -> Iterator[None]:
    """Put this process's streams back as they were when the context ends.

    Until then what this thread draws by the module `random` is of a stream of its own.
    """
    _part()
    outer, process, before = _stream(), _PROCESS.getstate(), capture(device)
    _here.stream = random.Random()
    try:
        yield
    finally:
        _here.stream = outer
        restore(before, device)
        _PROCESS.setstate(process)


def _stream() -> random.Random:
    """What the functions of the module `random` draw from, in this thread."""
    stream: random.Random = getattr(_here, "stream", _PROCESS)
    return stream


def _each(step: Callable[[random.Random], object]) -> None:
    """Do a step with this thread's stream, and with the one that all share.

    A module that had `from random import choice` before `_part` draws from the latter.
    """
    for stream in {_stream(), _PROCESS}:
        step(stream)


def _part() -> None:
    """From now on the functions of the module `random` ask whose stream it is."""
    for name in random.__all__:
        if getattr(getattr(random, name), "__self__", None) is _PROCESS:
            setattr(random, name, _parted(name))


def _parted(name: str) -> Callable[..., Any]:
    def function(*values: Any, **named: Any) -> Any:
        return getattr(_stream(), name)(*values, **named)

    function.__name__ = function.__qualname__ = name
    return function


def _accelerator(device: torch.device) -> Any:
    """The torch module for a device that is not the CPU; both offer the same functions."""
    return torch.cuda if device.type == "cuda" else torch.mps


def _current(device: torch.device) -> AbstractContextManager[Any]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
