"""The random streams that training draws from: torch, its accelerator, numpy, Python."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

from perdure.strategies.learner.state import State, on_cpu

TORCH, NUMPY, PYTHON = "random.torch", "random.numpy", "random.python"


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
    """Put this process's streams back as they were when the context ends."""
    before = capture(device)
    try:
        yield
    finally:
        restore(before, device)


def _accelerator(device: torch.device) -> Any:
    """The torch module for a device that is not the CPU; both offer the same functions."""
    return torch.cuda if device.type == "cuda" else torch.mps


def _current(device: torch.device) -> AbstractContextManager[Any]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
