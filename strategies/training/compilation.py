"""`torch.compile` for training: the weights and their names stay those of the model."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from perdure.errors import Fault


def compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The model's forward pass, compiled at its first call.

    Raises:
        Fault: When called: the compiler is missing, or cannot do it. Going on without would
            hide that the setting does nothing.
    """
    forward = torch.compile(model)

    def call(x: Tensor) -> Tensor:
        try:
            result: Tensor = forward(x)
        except Exception as error:
            if not of_the_compiler(error):
                raise
            raise Fault(
                f"training.compile = true, but torch cannot compile the model here: {_told(error)}",
                hint="install a C++ compiler (on a GPU also Triton), or set "
                "training.compile = false in perdure.toml",
            ) from error
        return result

    return call


@contextmanager
def compiler(wanted: bool) -> Iterator[None]:
    """Everything of the compiler's in a folder of its own, which is gone afterwards.

    By default torch keeps what it compiled, in part pickled, where the next process loads it.
    What was compiled for earlier models is forgotten, or else after some experiences torch would
    reach its limit of recompilations and go on without compiling.

    Args:
        wanted: Whether anything will be compiled; if not, torch's compiler is not even imported.
    """
    if not wanted:
        yield
        return
    from torch._functorch import config as functorch
    from torch._inductor import config as inductor

    torch.compiler.reset()
    with (
        tempfile.TemporaryDirectory(prefix="perdure-compile-") as folder,
        _set({"TORCHINDUCTOR_CACHE_DIR": folder, "TRITON_CACHE_DIR": f"{folder}/triton"}),
        inductor.patch(fx_graph_cache=False, fx_graph_remote_cache=False, compile_threads=1),
        functorch.patch(enable_autograd_cache=False),
    ):
        yield


@contextmanager
def _set(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def of_the_compiler(error: BaseException) -> bool:
    """Whether an error, or what led to it, comes from torch's compiler."""
    places = ("torch._dynamo", "torch._inductor", "torch._functorch")
    led: BaseException | None = error
    while led is not None:
        if type(led).__module__.startswith(places):
            return True
        led = led.__cause__
    return False


def _told(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
