"""The plain PyTorch loops that the engine is measured against: one for each strategy.

Each is what someone who knows torch would write for just this model and method, and for
nothing else: batches by `index_select` from float32 tensors that lie ready on the device, torch's
fused Adam, foreach functions over the parameters, gradients of penalties in closed form, no
validation, no progress, no record of the loss, nothing saved. What a method does once an
experience (EWC's Fisher information, the choice of rows for a memory) is in it as well.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss


@dataclass
class Raw:
    """What a loop is given: a network of linear layers and ReLU, rows, and a memory."""

    network: nn.Sequential
    x: Tensor
    """float32 (rows, inputs), standardised."""
    y: Tensor
    """int64 (rows,)."""
    epochs: int
    batch: int
    held_x: Tensor
    held_y: Tensor

    def __post_init__(self) -> None:
        self.parameters: list[Tensor] = list(self.network.parameters())
        # As a learner that has learned before: every tensor that a method remembers is there.
        self.centre = [p.detach() + 0.01 * torch.randn_like(p) for p in self.parameters]
        self.importance = [torch.rand_like(p) * 1e-3 for p in self.parameters]
        self.teacher = copy.deepcopy(self.network).eval().requires_grad_(False)
        with torch.no_grad():
            self.logits = self.network(self.held_x)
        self.weights = torch.rand(len(self.held_x)).sort(descending=True).values
        self.all_x, self.all_y = torch.cat([self.x, self.held_x]), torch.cat([self.y, self.held_y])

    def optimizer(self) -> torch.optim.Optimizer:
        """Torch's fastest Adam."""
        return torch.optim.Adam(self.parameters, lr=1e-3, fused=True)

    def batches(self) -> Iterator[Tensor]:
        """Places of the rows of each batch, on the rows' device."""
        for _ in range(self.epochs):
            order = torch.randperm(len(self.x), device=self.x.device)
            yield from torch.split(order, self.batch)

    def drawn(self, count: int) -> Tensor:
        """Places of memory rows."""
        return torch.randint(len(self.held_x), (count,), device=self.x.device)

    def gradients(self) -> list[Tensor]:
        """Of every parameter, after a backward pass."""
        return [p.grad for p in self.parameters if p.grad is not None]

    def loss(self, places: Tensor) -> Tensor:
        """Cross entropy of new rows."""
        found = self.network(self.x.index_select(0, places))
        return cross_entropy(found, self.y.index_select(0, places))

    def remember(self) -> None:
        """A reservoir: the rows of highest weight stay."""
        drawn = torch.cat([torch.rand(len(self.x)), self.weights])
        kept, places = drawn.topk(len(self.held_x))
        places = places.to(self.x.device)
        self.held_x = self.all_x.index_select(0, places)
        self.held_y = self.all_y.index_select(0, places)
        self.weights = kept


def back(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """The gradients of a loss."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own


def naive(raw: Raw) -> None:
    """Plain training."""
    optimizer = raw.optimizer()
    for places in raw.batches():
        loss = raw.loss(places)
        back(optimizer, loss)
        optimizer.step()


def replay(raw: Raw) -> None:
    """New rows and memory rows in one batch, gathered from one tensor at once."""
    optimizer = raw.optimizer()
    x, y = raw.all_x, raw.all_y
    for places in raw.batches():
        both = torch.cat([places, raw.drawn(len(places)) + len(raw.x)])
        loss = cross_entropy(raw.network(x.index_select(0, both)), y.index_select(0, both))
        back(optimizer, loss)
        optimizer.step()
    raw.remember()


def ewc(raw: Raw) -> None:
    """One quadratic, its gradient 2λA θ - 2λB added in place; the Fisher information at the end."""
    optimizer = raw.optimizer()
    stiffness = [2 * 100.0 * a for a in raw.importance]
    pull = [s * c for s, c in zip(stiffness, raw.centre, strict=True)]
    for places in raw.batches():
        loss = raw.loss(places)
        back(optimizer, loss)
        with torch.no_grad():
            gradients = raw.gradients()
            torch._foreach_addcmul_(gradients, stiffness, raw.parameters)
            torch._foreach_sub_(gradients, pull)
        optimizer.step()
    for importance, new in zip(raw.importance, _fisher(raw), strict=True):
        importance += new


def _fisher(raw: Raw) -> list[Tensor]:
    """Of each row, from what enters a linear layer and the gradient of what leaves it."""
    total = [torch.zeros_like(p) for p in raw.parameters]
    for x, y in zip(torch.split(raw.x, 1024), torch.split(raw.y, 1024), strict=True):
        entered, left, value = [], [], x
        for layer in raw.network:
            if isinstance(layer, nn.Linear):
                entered.append(value.detach())
            value = layer(value)
            if isinstance(layer, nn.Linear):
                left.append(value)
        slopes = torch.autograd.grad(cross_entropy(value, y, reduction="sum"), left)
        for place, (a, g) in enumerate(zip(entered, slopes, strict=True)):
            squares = g.square()
            total[2 * place].addmm_(squares.T, a.square())
            total[2 * place + 1] += squares.sum(dim=0)
    return [value / len(raw.x) for value in total]


def si(raw: Raw) -> None:
    """The quadratic penalty, and ω from the gradient before it and the step after it."""
    optimizer = raw.optimizer()
    stiffness = [2 * a for a in raw.importance]
    pull = [s * c for s, c in zip(stiffness, raw.centre, strict=True)]
    first = [p.detach().clone() for p in raw.parameters]
    before = [torch.empty_like(p) for p in first]
    alone = [torch.empty_like(p) for p in first]
    work = [torch.zeros_like(p) for p in first]
    for places in raw.batches():
        loss = raw.loss(places)
        back(optimizer, loss)
        with torch.no_grad():
            gradients = raw.gradients()
            torch._foreach_copy_(before, raw.parameters)
            torch._foreach_copy_(alone, gradients)
            torch._foreach_addcmul_(gradients, stiffness, raw.parameters)
            torch._foreach_sub_(gradients, pull)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_sub_(before, raw.parameters)
            torch._foreach_addcmul_(work, alone, before)
    with torch.no_grad():
        for a, w, p, f in zip(raw.importance, work, raw.parameters, first, strict=True):
            a.add_(w / ((p - f).square() + 0.1)).clamp_min_(0)


def lwf(raw: Raw) -> None:
    """Distillation from a second network over all outputs."""
    optimizer = raw.optimizer()
    for places in raw.batches():
        x = raw.x.index_select(0, places)
        with torch.no_grad():
            taught = log_softmax(raw.teacher(x) / 2.0, dim=1)
        found = raw.network(x)
        loss = cross_entropy(found, raw.y.index_select(0, places))
        softened = log_softmax(found / 2.0, dim=1)
        loss = loss + kl_div(softened, taught, reduction="batchmean", log_target=True)
        back(optimizer, loss)
        optimizer.step()


def agem(raw: Raw) -> None:
    """A second gradient from the memory; only where the two disagree is there more to do."""
    optimizer = raw.optimizer()
    for places in raw.batches():
        loss = raw.loss(places)
        back(optimizer, loss)
        again = raw.drawn(len(places))
        held = raw.network(raw.held_x.index_select(0, again))
        memory = cross_entropy(held, raw.held_y.index_select(0, again))
        reference = torch.autograd.grad(memory, raw.parameters)
        gradients = raw.gradients()
        along = _dot(gradients, reference)
        if along < 0:
            share = float(along / _dot(reference, reference))
            torch._foreach_add_(gradients, reference, alpha=-share)
        optimizer.step()
    raw.remember()


def _dot(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    parts = [torch.dot(a.view(-1), b.view(-1)) for a, b in zip(one, other, strict=True)]
    return torch.stack(parts).sum()


def derpp(raw: Raw) -> None:
    """Replay, and the memory's outputs held to what they were."""
    optimizer = raw.optimizer()
    x, y = raw.all_x, raw.all_y
    for places in raw.batches():
        count, again = len(places), raw.drawn(len(places))
        both = torch.cat([places, again + len(raw.x)])
        found, labels = raw.network(x.index_select(0, both)), y.index_select(0, both)
        loss = cross_entropy(found[:count], labels[:count])
        loss = loss + 0.5 * mse_loss(found[count:], raw.logits.index_select(0, again))
        loss = loss + 0.5 * cross_entropy(found[count:], labels[count:])
        back(optimizer, loss)
        optimizer.step()
    raw.remember()
    with torch.no_grad():
        raw.logits = raw.network(raw.held_x)


LOOPS: dict[str, Callable[[Raw], None]] = {
    "naive": naive,
    "replay": replay,
    "ewc": ewc,
    "si": si,
    "lwf": lwf,
    "agem": agem,
    "der++": derpp,
}
"""By strategy."""
