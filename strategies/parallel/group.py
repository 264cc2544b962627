"""Processes that learn one experience together, and what they tell each other.

Each process has the whole model, memory and rows, and draws the same random numbers in the same
order. Of a batch of n rows each takes its share through the network. Then all have the outputs of
all n rows, so that each computes the loss of the whole batch, whatever the strategy makes of it:

    f = [f_1, …, f_W]        f_r: the outputs of the rows of process r, which alone have a gradient
    ∇ ℓ(f) = Σ_r ∂ℓ/∂f_r · ∂f_r/∂θ

The sum over the processes is the gradient of the whole batch: a last batch that does not divide
evenly, class weights and losses of several parts are right without a factor of their own. What
hangs on the weights alone (penalties, clipping, the optimizer) each does for itself, on equal
numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from perdure.errors import Fault

AT_ONCE = 2**24
"""Values that are summed in one message."""


class Group:
    """The processes that learn together; where it is one alone, nothing is sent.

    Args:
        rank: This process, from 0.
        size: How many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self._own: Tensor | None = None
        self._trained: dict[str, nn.Parameter] | None = None

    @property
    def alone(self) -> bool:
        """Whether this process learns by itself."""
        return self.size == 1

    def begin(self, seed: int, experience: int, device: torch.device) -> None:
        """Start this process's own stream, see `own_draws`.

        Args:
            seed: `training.seed`.
            experience: How many were learned before.
            device: On an accelerator its whole stream is this process's own.
        """
        if self.alone:
            return
        text = f"{seed}/{experience}/{self.rank}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
        self._own = torch.Generator().manual_seed(number).get_state()
        self._trained = None
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(number)

    @contextmanager
    def own_draws(self) -> Iterator[None]:
        """Draw from this process's own stream, such as dropout and augmentation.

        How much they draw depends on the rows, of which each process has others. From torch's
        stream all draw the same: the order of the rows, and which of them the memory keeps.
        """
        if self._own is None:
            yield
            return
        common = torch.get_rng_state()
        torch.set_rng_state(self._own)
        try:
            yield
        finally:
            self._own = torch.get_rng_state()
            torch.set_rng_state(common)

    def share(self, rows: int) -> slice:
        """The part of so many rows that is this process's; it may be empty."""
        return slice(self.rank * rows // self.size, (self.rank + 1) * rows // self.size)

    def taken(self, rows: int) -> slice:
        """The rows that go through the network here: the share, or one row where it is empty.

        A network needs not take a batch without rows, and every process has to have gradients.
        """
        mine = self.share(rows)
        return mine if mine.start < mine.stop else slice(0, min(1, rows))

    def whole(self, part: Tensor, rows: int) -> Tensor:
        """Put together what the processes have computed of so many rows.

        Args:
            part: Of `taken(rows)`, (taken, ...).
            rows: How many there are in all.

        Returns:
            (rows, ...), the same numbers in every process; only its own share has a gradient here.
        """
        if self.alone:
            return part
        mine = self.share(rows)
        part = part[: mine.stop - mine.start]
        every = part.new_zeros((rows, *part.shape[1:]))
        every[mine] = part.detach()
        dist.all_reduce(every)
        return torch.cat([every[: mine.start], part, every[mine.stop :]])

    def each(self, x: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """What `compute` gives of rows, (rows, ...), each process computing its share."""
        return self.whole(compute(x[self.taken(len(x))]), len(x))

    @torch.no_grad()
    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Sum tensors over the processes, in place; those of a type go together in a message."""
        if self.alone:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            dist.all_reduce(flat)
            parts = torch.split(flat, [tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def sum_gradients(self, model: nn.Module) -> None:
        """Sum the gradients of a model over the processes.

        Raises:
            Fault: A parameter had none in the first step, and has one now.
        """
        if self.alone:
            return
        if self._trained is None:
            self._trained = self._reached(model)
        for name, parameter in model.named_parameters():
            if parameter.grad is not None and name not in self._trained:
                raise Fault(
                    f"{name} had no gradient in the first step, and has one now: several processes "
                    "can only train a model that uses the same parameters for every row",
                    hint="resources.processes = 1 in perdure.toml",
                )
        for parameter in self._trained.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.sum([p.grad for p in self._trained.values() if p.grad is not None])

    def _reached(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The parameters that have a gradient in some process: a sum needs the same in all."""
        named = dict(model.named_parameters())
        marks = [float(parameter.grad is not None) for parameter in named.values()]
        reached = torch.tensor(marks, device=next(iter(named.values())).device)
        dist.all_reduce(reached)
        pairs = zip(named.items(), reached.tolist(), strict=True)
        return {name: parameter for (name, parameter), mark in pairs if mark}

    @torch.no_grad()
    def check_same(self, model: nn.Module) -> None:
        """See that the processes have the same model, bit for bit.

        Raises:
            Fault: They have not; what a forward pass writes into a buffer, say, is of the rows
                of one process alone.
        """
        if self.alone:
            return
        bits = {
            name: value.detach().contiguous().reshape(-1).view(torch.uint8)
            for name, value in model.state_dict().items()
        }
        mine = torch.cat(list(bits.values()))
        first = mine.clone()
        dist.broadcast(first, src=0)
        same = torch.tensor([float(torch.equal(first, mine))], device=mine.device)
        dist.all_reduce(same)
        if int(same) == self.size:
            return
        parts = torch.split(first, [len(part) for part in bits.values()])
        wrong = [
            name
            for (name, part), other in zip(bits.items(), parts, strict=True)
            if not torch.equal(part, other)
        ]
        if not wrong:
            raise OtherFailed
        raise Fault(
            f"{', '.join(wrong)} differ between the processes after an epoch: the model keeps "
            "something of the rows that go through it, or this machine's devices are not alike",
            hint="resources.processes = 1 in perdure.toml",
        )


class OtherFailed(Exception):
    """Another process has found a fault, and says which."""


ALONE = Group()
"""One process by itself."""


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one type and device, `AT_ONCE` values at a time where they are small enough."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for kind in kinds.values():
        bucket: list[Tensor] = []
        for tensor in kind:
            if bucket and sum(t.numel() for t in bucket) + tensor.numel() > AT_ONCE:
                yield bucket
                bucket = []
            bucket.append(tensor)
        yield bucket
