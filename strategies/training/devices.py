"""Where training runs: the device, its settings, its memory, and how rows get there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from perdure.errors import Fault, UsageError

SHARE = 0.5
"""Share of an accelerator's free memory that the rows of an experience may take up at most; the
rest is for weights, gradients and activations."""

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def choose_device(name: str) -> torch.device:
    """The device of `training.device`; `auto` is CUDA where there is one, else the CPU.

    Raises:
        UsageError: The device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there[device.type]:
        raise UsageError(
            f"training.device = {name!r}, but there is no such device here; "
            f"torch sees {torch.cuda.device_count()} CUDA devices",
            hint='set training.device = "auto" in perdure.toml',
        )
    return device


def free_bytes(device: torch.device) -> int | None:
    """Memory of a CUDA device that is free; None: not known, or it is the machine's own.

    What torch holds there without using it, as after an earlier experience, is free too.
    """
    if device.type != "cuda":
        return None
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def storage_device(
    tensors: Sequence[Tensor], device: torch.device, copies: int = 1
) -> torch.device:
    """Choose where tensors are kept: on the device if they fit `SHARE` of it, else on the CPU.

    Args:
        tensors: What is to be kept.
        device: Where training runs.
        copies: How many times all of it will lie there at once.

    An Apple GPU has no memory of its own, so there they always lie on the device.
    """
    free = free_bytes(device)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    fits = free is None or copies * size <= SHARE * free
    return device if fits else torch.device("cpu")


def pinned(tensor: Tensor, place: torch.device, device: torch.device) -> Tensor:
    """Return a tensor on the device where it is kept.

    On the CPU for an accelerator it lies in memory that is never paged out, from which batches
    are copied while the accelerator computes.
    """
    moved = tensor.to(place)
    waits = place.type == "cpu" and device.type == "cuda"
    return moved.pin_memory() if waits else moved


class BatchPrefetcher:
    """Brings batches to the device; on CUDA while the batch before is still computed."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]  # torch's own

    def __call__(self, batch: list[Tensor]) -> list[Tensor]:
        """The batch on the device; what is there already stays as it is."""
        if all(tensor.device.type == self._device.type for tensor in batch):
            return batch
        if self._stream is None:
            return [tensor.to(self._device) for tensor in batch]
        here = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            moved = [
                tensor
                if tensor.is_cuda
                else tensor.pin_memory().to(self._device, non_blocking=True)
                for tensor in batch
            ]
        here.wait_stream(self._stream)
        for tensor in moved:
            # Its memory is not given to the copies to come before the step is done with it.
            tensor.record_stream(here)
        return moved


@contextmanager
def threads(number: int) -> Iterator[None]:
    """So many CPU threads of torch; 0: as many as there are."""
    before = torch.get_num_threads()
    if number:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def determinism(wanted: bool, device: torch.device) -> Iterator[None]:
    """Only operations that give the same bits every time; the settings are put back.

    Raises:
        UsageError: CUDA's matrix products are not set up for it. It is read when CUDA starts,
            so it must stand in the environment of the process.
        Fault: The model has an operation of which there is no such form.
    """
    if not wanted:
        yield
        return
    if device.type == "cuda" and os.environ.get(_WORKSPACE) not in (":4096:8", ":16:8"):
        raise UsageError(
            f"training.deterministic = true on CUDA needs {_WORKSPACE}=:4096:8 in the environment",
            hint=f"export {_WORKSPACE}=:4096:8, then run this again",
        )
    cudnn = torch.backends.cudnn
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.deterministic,
        cudnn.benchmark,
    )
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise Fault(
            f"training.deterministic = true, but {str(error).splitlines()[0]}",
            hint="another model, device cpu, or training.deterministic = false",
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.deterministic, cudnn.benchmark = before[2:]


@contextmanager
def memory(device: torch.device, batch_size: int) -> Iterator[None]:
    """Say which setting to lower when the memory is not enough.

    Raises:
        Fault: It is not; with the batch size.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        free = free_bytes(device)
        room = "" if free is None else f", of which {free / 2**20:,.0f} MiB are free"
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise Fault(
            f"the memory of {device}{room}, is not enough for batches of "
            f"training.batch_size = {batch_size}: {what}",
            hint="a lower training.batch_size (with training.accumulate as many times higher the "
            'steps stay the same), training.precision = "bfloat16", or a smaller model',
        ) from error


def out_of_memory(error: BaseException) -> bool:
    """Whether that is what an error says; torch has a type of its own for CUDA alone."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        words in text for words in ("can't allocate memory", "not enough memory", "out of memory")
    )


def peak_bytes(device: torch.device) -> int | None:
    """Most memory that torch had in use on a CUDA device since `begin_peak`; else None."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def begin_peak(device: torch.device) -> None:
    """Forget the peak so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
