"""The gradient of every row of any model, summed up by square or by absolute value.

Three ways, all exact, the quickest first:

- `layers`: one backward pass for a chunk of rows, down to the outputs of the layers; each
  row's gradient of a layer's weights follows from what entered the layer and the gradient
  of what left it (see `layer_rules`);
- `vmap`: torch's own transform of the model, for a chunk of rows;
- `rows`: one backward pass for each row, for whatever the others cannot do (an LSTM, say).

Which one, is found by trying: on a few rows, with slopes of the outputs drawn at random so
that no gradient vanishes, a way has to give what `rows` gives. No list of models is kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from perdure.strategies.importance import layer_gradients
from perdure.strategies.importance.layer_gradients import Slopes, trained
from perdure.strategies.importance.layer_rules import Measure, Tensors
from perdure.strategies.parallel.group import ALONE, Group

Objective = Callable[[Tensor, Tensor], Tensor]
"""Objective of outputs (rows, outputs) and targets: a sum over the rows, without dimension."""

Sums = Callable[[nn.Module, Measure, Tensor, Slopes], Tensors]
"""One way: of the model, the measure, x (rows, ...) and the slopes of the outputs."""

CHUNK_VALUES = 2**25
"""Values held at once (128 MiB of float32), whatever the size of the model."""

CHUNK_ROWS = 4096
"""Rows at a time, at most."""


@dataclass(frozen=True)
class Way:
    """How the gradients of the rows are had."""

    name: str
    sums: Sums
    chunk: int
    """Rows at a time."""


def mean(
    model: nn.Module,
    measure: Measure,
    objectives: Sequence[Objective],
    x: Tensor,
    y: Tensor,
    group: Group = ALONE,
) -> Tensors:
    """Mean over the rows of the measured gradient, the model in evaluation mode.

    Args:
        model: Its modes and gradients are as before afterwards.
        measure: Square or absolute value, item by item.
        objectives: What is differentiated. The last one is exact; one before it is taken where
            it has the same slopes on the rows that are tried.
        x: (rows, ...), at least one row, on any device.
        y: (rows, ...), likewise.
        group: The processes that take a part of the rows each.

    Returns:
        By parameter name, in the order of `named_parameters`, each shaped as its parameter;
        NaN if the model's outputs are not finite.
    """
    device = next((p.device for p in model.parameters()), x.device)
    total = {name: torch.zeros_like(p) for name, p in trained(model).items()}
    with evaluating(model):
        few, targets = (_few(rows).to(device) for rows in (x, y))
        outputs = _outputs(model, few)
        if not bool(torch.isfinite(outputs).all()):  # it diverged: nothing can be tried on it
            return {name: torch.full_like(value, torch.nan) for name, value in total.items()}
        way = choose(model, measure, few)
        objective = _quickest(objectives, outputs, targets)
        mine = group.share(len(x))
        parts = (torch.split(rows[mine], way.chunk) for rows in (x, y))
        for x_part, y_part in zip(*parts, strict=True):
            if not len(x_part):  # fewer rows than processes
                continue
            slopes = _slopes(objective, y_part.to(device))
            for name, value in way.sums(model, measure, x_part.to(device), slopes).items():
                total[name] += value
    group.sum(list(total.values()))
    return {name: value / len(x) for name, value in total.items()}


def choose(model: nn.Module, measure: Measure, few: Tensor) -> Way:
    """The quickest way that gives what a backward pass for each of a few rows gives.

    Args:
        model: In evaluation mode.
        measure: Square or absolute value.
        few: (rows, ...), on the model's device.
    """

    def probe(outputs: Tensor) -> Tensor:
        drawn = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0))
        return drawn.to(outputs)

    size = _values_per_row(model, few)
    every = sum(p.numel() for p in model.parameters())
    ways = [
        Way("layers", layer_gradients.by_layers, _chunk(size)),
        Way("vmap", by_vmap, _chunk(size + every)),
    ]
    exact = by_rows(model, measure, few, probe)
    for way in ways:
        if way.chunk > 1 and _same(way.sums, exact, model, measure, few, probe):
            return way
    return Way("rows", by_rows, _chunk(size))


def by_rows(model: nn.Module, measure: Measure, x: Tensor, slopes: Slopes) -> Tensors:
    """Any model: one backward pass for each row."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p) for name, p in trained(model).items()}
    of_rows = torch.split(slopes(_outputs(model, x)), 1)
    for row, slope in zip(torch.split(x, 1), of_rows, strict=True):
        with torch.enable_grad():
            gradients = torch.autograd.grad(
                model(row), list(parameters.values()), slope, allow_unused=True
            )
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                total[name] += measure(gradient)
    return total


def by_vmap(model: nn.Module, measure: Measure, x: Tensor, slopes: Slopes) -> Tensors:
    """Any model of operations that torch can batch; holds a gradient for each row."""
    parameters = trained(model)

    def gradient(row: Tensor, slope: Tensor) -> Tensors:
        def outputs(weights: Tensors) -> Tensor:
            found: Tensor = torch.func.functional_call(model, weights, (row.unsqueeze(0),))
            return found

        pull = torch.func.vjp(outputs, parameters)[1]
        found: Tensors = pull(slope.unsqueeze(0))[0]
        return found

    gradients = torch.func.vmap(gradient)(x, slopes(_outputs(model, x)))
    return {name: measure(gradient).sum(dim=0) for name, gradient in gradients.items()}


def _same(
    sums: Sums, exact: Tensors, model: nn.Module, measure: Measure, few: Tensor, probe: Slopes
) -> bool:
    try:
        with warnings.catch_warnings():
            # vmap only warns where it falls back to a loop that is slower than ours.
            warnings.filterwarnings("error", "There is a performance drop")
            found = sums(model, measure, few, probe)
    except Exception:  # noqa: BLE001 (whatever stops a way, the next one is there)
        return False
    # Rounding is measured against the parameter's largest value, and against that of all: a
    # bias before a normalisation has no gradient but rounding.
    largest = max((float(value.max()) for value in exact.values() if value.numel()), default=0.0)
    return all(
        float((found[name] - value).abs().max()) <= 1e-3 * float(value.max()) + 1e-5 * largest
        for name, value in exact.items()
        if value.numel()
    )


def _quickest(objectives: Sequence[Objective], outputs: Tensor, targets: Tensor) -> Objective:
    exact = _slopes(objectives[-1], targets)(outputs)
    for objective in objectives:
        found = _slopes(objective, targets)(outputs)
        if torch.allclose(found, exact, rtol=1e-4, atol=1e-6 * float(exact.abs().max())):
            return objective
    return objectives[-1]


def _slopes(objective: Objective, targets: Tensor) -> Slopes:
    """∂ objective / ∂ outputs: (rows, outputs) of the outputs (rows, outputs)."""

    def slopes(outputs: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = outputs.detach().requires_grad_()
            return torch.autograd.grad(objective(leaf, targets), leaf)[0]

    return slopes


def _outputs(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(x)
    return found


def _few(rows: Tensor) -> Tensor:
    """The first, the last and one between."""
    last = len(rows) - 1
    return rows[sorted({0, last // 2, last})]


def _chunk(values_per_row: int) -> int:
    return max(1, min(CHUNK_ROWS, CHUNK_VALUES // max(1, values_per_row)))


def _values_per_row(model: nn.Module, few: Tensor) -> int:
    """About how many values a row needs on its way through the model and back."""
    found = 0

    def note(layer: nn.Module, entered: tuple[object, ...], output: object) -> None:
        nonlocal found
        left = output if isinstance(output, tuple) else (output,)
        values = sum(t.numel() for t in (*entered, *left) if isinstance(t, Tensor))
        found += 8 * values if isinstance(layer, nn.RNNBase) else values  # gates and cells

    leaves = [layer for layer in model.modules() if not list(layer.children())]
    handles = [layer.register_forward_hook(note) for layer in leaves]
    try:
        _outputs(model, few)
    finally:
        for handle in handles:
            handle.remove()
    return 2 * found // len(few)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode; afterwards each in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    # cuDNN goes back through a recurrent layer in training mode only; torch's own kernels go
    # in both (https://github.com/pytorch/pytorch/issues/10006).
    recurrent = any(isinstance(module, nn.RNNBase) for module, _ in modes)
    model.eval()
    try:
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and not recurrent):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
