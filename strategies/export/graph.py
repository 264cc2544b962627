"""A module as a `torch.export` graph in a file: any number of rows, and nothing pickled."""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn

from perdure.errors import ConfigError, Corrupt, Fault
from perdure.strategies.export import archive

BATCHES = (1, 2, 32, 1000)
"""Numbers of rows that every exported graph is tried on; the last is less for a large network."""
RTOL, ATOL = 1e-5, 1e-6
"""So far a graph's outputs may be from the module's: relative to them, and absolute."""
TRIED_VALUES = 2**24
"""Values that a graph computes, at most, of the largest number of rows, which is more than 32 in
any case; bounds time and memory."""

_exported: dict[str, nn.Module] = {}
"""The graph that was exported last, by its file's SHA-256, until someone loads these bytes.

MLflow loads each model that is logged, right after it was exported, checked and loaded here.
"""


def export(module: nn.Module, probe: Tensor, path: Path) -> None:
    """Export a module, and check that the file says what the module says.

    Args:
        module: In evaluation mode, on the CPU; takes what `features.encode` gives.
        probe: (rows, ...) of `features.encode`, at least one row, to try both on.
        path: Where to write; its name ends in `.pt2`.

    Raises:
        ConfigError: The model cannot be exported, for any number of rows.
        Fault: The exported graph gives other numbers than the module.
    """
    _exported.clear()
    torch.export.save(traced(module, probe), path)
    data = path.read_bytes()
    try:
        loaded = _load(data, path)
    except Corrupt as error:
        path.unlink()
        raise _unfit(error.message) from error
    _compare(module, loaded, probe)
    _exported[hashlib.sha256(data).hexdigest()] = loaded


def traced(module: nn.Module, probe: Tensor) -> torch.export.ExportedProgram:
    """A module as a graph for any number of rows, without what is pickled or evaluated on loading.

    Raises:
        ConfigError: The model cannot be exported, for any number of rows.
    """
    # A batch of two: with one, torch.export takes the number of rows for a constant.
    example = torch.cat([probe[:1]] * 2)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # torch's recurrent layers keep their parameters in a list too, which it puts back.
            warnings.filterwarnings("ignore", "The tensor attributes .* were assigned during expo")
            program = torch.export.export(
                module.eval(), (example,), dynamic_shapes=({0: torch.export.Dim("rows", min=1)},)
            )
    except Exception as error:
        raise _unfit(str(error)) from error
    _plain(program)
    return program


def load(path: Path) -> nn.Module:
    """Load an exported graph; what could run code is refused before (see `archive`).

    Raises:
        Corrupt: The file is unreadable, or not one that `export` writes.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Corrupt(f"{path} cannot be read: {error.strerror}") from error
    checked = _exported.pop(hashlib.sha256(data).hexdigest(), None) if _exported else None
    return checked if checked is not None else _load(data, path)


def _load(data: bytes, path: Path) -> nn.Module:
    from torch.export.pt2_archive._package import load_pt2

    archive.check(data)
    # Not torch.export.load: where it fails, it falls back to a format of pickles. And from
    # the bytes that were checked, so that no other process changes the file in between.
    try:
        program = load_pt2(io.BytesIO(data)).exported_programs["model"]
    except Exception as error:
        raise Corrupt(f"{path} cannot be loaded: {error}") from error
    return program.module(check_guards=False)


def _plain(program: torch.export.ExportedProgram) -> None:
    """Take out what is pickled or evaluated on loading, and this machine's paths."""
    program.example_inputs = None
    program._guards_code = []  # noqa: SLF001 (no public way; they restate the input's shape)
    for node in program.graph.nodes:
        for name in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "custom"):
            node.meta.pop(name, None)


class _Counting(torch.fx.Interpreter):
    """Runs a graph, and counts the values that its operations give."""

    def __init__(self, loaded: torch.fx.GraphModule) -> None:
        super().__init__(loaded)
        self.values = 0

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run one operation."""
        found = super().run_node(n)
        if n.op == "call_function":
            parts = found if isinstance(found, (tuple, list)) else (found,)
            self.values += sum(part.numel() for part in parts if isinstance(part, Tensor))
        return found


def size(loaded: nn.Module, probe: Tensor) -> int:
    """How many values an exported graph computes of one row: all layers and steps together.

    Args:
        loaded: As `load` gives it.
        probe: (rows, ...) of `features.encode`, at least one row.
    """
    assert isinstance(loaded, torch.fx.GraphModule)
    counting = _Counting(loaded)
    with torch.no_grad():
        counting.run(probe[:1])
    return counting.values


def _compare(module: nn.Module, loaded: nn.Module, probe: Tensor) -> None:
    most = max(BATCHES[-2] + 1, TRIED_VALUES // max(1, size(loaded, probe)))
    for rows in (min(rows, most) for rows in BATCHES):
        batch = torch.cat([probe] * -(-rows // len(probe)))[:rows]
        with torch.no_grad():
            expected, found = module(batch), loaded(batch)
        if not alike(expected, found):
            raise Fault(
                f"the exported model differs from the trained one by "
                f"{float((expected - found).abs().max()):.3g} on {rows} rows; the limit is {ATOL:g}"
            )


def alike(expected: Tensor, found: Tensor) -> bool:
    """Whether a graph's outputs are those of the module, within the bounds."""
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return False
    return torch.allclose(expected, found, rtol=RTOL, atol=ATOL, equal_nan=True)


def _unfit(why: str) -> ConfigError:
    return ConfigError(
        "perdure.toml",
        [f"model.factory: the model cannot be exported for serving: {why.strip()[:600]}"],
        hint="use torch operations that do not depend on the number of rows (torch.export)",
    )
