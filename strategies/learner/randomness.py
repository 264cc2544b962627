"""The random streams that training draws from: torch, its accelerator, numpy, Python.

Each is one for the whole process, and Python's is drawn from by threads that know nothing of
training: the websockets of Prefect's events and logs take the mask of every message from it.
So while a learner's streams are in place, other threads draw from another one (ADR 24).
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

_OTHERS = random.Random()
"""What threads that do not train draw from meanwhile."""
_trains: int | None = None
"""The thread whose streams are in place."""


def seed(value: int, device: torch.device) -> None:
    """Start every stream of this process from one number, 0 to below 2³²."""
    torch.default_generator.manual_seed(value)
    if device.type != "cpu":
        with _current(device):
            _accelerator(device).manual_seed(value)
    np.random.seed(value)
    random.seed(value)


def capture(device: torch.device) -> dict[str, State]:
    """The state of every stream, as parts of a learner."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, words, gauss_next = random.getstate()
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
    random.setstate((python.values["version"], words, python.values["gauss_next"]))
    here = states.get(f"random.{device.type}")
    if device.type != "cpu" and here is not None:
        with _current(device):
            _accelerator(device).set_rng_state(here.tensors["state"])


@contextmanager
def isolated(device: torch.device) -> Iterator[None]:
    """Put this process's streams back as they were when the context ends.

    Until then Python's own, the functions of `random`, is this thread's alone.
    """
    with _undisturbed():
        before = capture(device)
        try:
            yield
        finally:
            restore(before, device)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """The functions of the module `random` take other threads to another stream meanwhile."""
    global _trains
    if _trains is not None:  # within another one; or this thread is one of the others
        yield
        return
    functions = {
        name: function
        for name in random.__all__
        if isinstance(getattr(function := getattr(random, name), "__self__", None), random.Random)
    }
    _OTHERS.seed()  # forks of one process would all draw the same
    _trains = threading.get_ident()
    for name, function in functions.items():
        setattr(random, name, _parted(function, getattr(_OTHERS, name)))
    try:
        yield
    finally:
        for name, function in functions.items():
            setattr(random, name, function)
        _trains = None


def _parted(mine: Callable[..., Any], others: Callable[..., Any]) -> Callable[..., Any]:
    def function(*values: Any, **named: Any) -> Any:
        # Asked at each call: a module that is imported meanwhile may keep this function for good.
        apart = _trains not in (None, threading.get_ident())
        return (others if apart else mine)(*values, **named)

    return function


def _accelerator(device: torch.device) -> Any:
    """The torch module for a device that is not the CPU; both offer the same functions."""
    return torch.cuda if device.type == "cuda" else torch.mps


def _current(device: torch.device) -> AbstractContextManager[Any]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
