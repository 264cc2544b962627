"""Gradient episodic memory; see `perdure.strategies.gem`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from perdure.strategies.learner.state import State
from perdure.strategies.plugins.base import Plugin, SupervisedTemplate
from perdure.strategies.plugins.memory import EXPERIENCE, Memory
from perdure.strategies.plugins.reference import reference, rows_needed

Vector = npt.NDArray[np.float64]

_RIDGE = 1e-4
"""Added to the diagonal of GGᵀ, a share of its mean, so that it can be inverted."""


class Gem(Plugin):
    """Never step against the gradient of any memory.

    Args:
        size: Rows of each memory.
        memories: Memories at most.
        strength: Margin γ: at least so much of each memory's gradient is added.
    """

    def __init__(self, size: int, memories: int, strength: float) -> None:
        super().__init__()
        self.size, self.strength = size, strength
        self._memories = memories
        self.parts: list[Memory] = []
        """The oldest first; it may stand for several experiences."""
        self._needed = 1

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """See that references can be taken."""
        self._needed = rows_needed(strategy.model, "gem", size=self.size)

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        """Project the gradients, in place."""
        parts = [part for part in self.parts if len(part) >= self._needed]
        if not parts:
            return
        parameters = [p for p in strategy.model.parameters() if p.grad is not None]
        rows = []
        for part in parts:
            found = reference(strategy, part.rows[:2], parameters)
            rows.append(torch.cat([g.flatten() for g in found]))
        references = torch.stack(rows)
        gradient = torch.cat([p.grad.flatten() for p in parameters])
        along = (references @ gradient).to("cpu", torch.float64).numpy()
        if (along >= 0).all():
            return
        products = (references @ references.t()).to("cpu", torch.float64).numpy()
        usable = np.isfinite(along) & np.isfinite(products.diagonal())
        if not usable.all():
            # A gradient that is not finite has no direction: the other memories are asked.
            references = references[torch.from_numpy(usable).to(references.device)]
            along, products = along[usable], products[usable][:, usable]
            if (along >= 0).all():
                return
        shares = torch.from_numpy(multipliers(products, along, self.strength))
        gradient += shares.to(gradient.device, gradient.dtype) @ references
        sizes = [p.numel() for p in parameters]
        for p, projected in zip(parameters, torch.split(gradient, sizes), strict=True):
            p.grad.copy_(projected.view_as(p))

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """A memory of the rows just learned; where there are too many, the two oldest join."""
        new = Memory(self.size)
        new.post_adapt(strategy, strategy.experience)
        self.parts.append(new)
        self._join()

    def _join(self) -> None:
        while len(self.parts) > self._memories:
            first, second, *rest = self.parts
            self.parts = [_together(first, second, self.size), *rest]

    def state(self) -> State:
        """`x`, `y`, `task`, `weight`, and `experience`: the place of each row's memory."""
        if not self.parts:
            return State()
        states = [part.state().tensors for part in self.parts]
        tensors = {name: torch.cat([s[name] for s in states]) for name in states[0]}
        sizes = torch.tensor([len(part) for part in self.parts])
        tensors[EXPERIENCE] = torch.arange(len(self.parts)).repeat_interleave(sizes)
        return State(tensors)

    def restore(self, state: State, strategy: SupervisedTemplate) -> None:
        """Hold the memories again."""
        if not state.tensors:
            return
        _, counts = torch.unique_consecutive(state.tensors[EXPERIENCE], return_counts=True)
        sizes = counts.tolist()
        split = {name: torch.split(t, sizes) for name, t in state.tensors.items()}
        for place in range(len(counts)):
            part = Memory(self.size)
            part.restore(State({name: parts[place] for name, parts in split.items()}), strategy)
            self.parts.append(part)
        self._join()


def _together(one: Memory, other: Memory, size: int) -> Memory:
    """One memory of the rows of two: those of highest weight, as if it had seen them all."""
    joined = Memory(size)
    joined.absorb(one)
    joined.absorb(other)
    return joined


def multipliers(products: Vector, along: Vector, strength: float) -> Vector:
    """Solve the dual of GEM's quadratic programme; the projected gradient is g + Gᵀv.

    minimise ½ vᵀ(GGᵀ)v + (Gg)ᵀv over v ≥ γ. With v = u + γ and GGᵀ = LLᵀ this is a
    non-negative least squares problem: minimise ‖Lᵀu + L⁻¹(Gg + GGᵀγ)‖ over u ≥ 0.

    Args:
        products: GGᵀ, (memories, memories).
        along: Gg, (memories,).
        strength: γ ≥ 0.

    Returns:
        v, (memories,).
    """
    # Scaled, so that the ridge means the same for small and for large gradients.
    scale = float(np.trace(products)) / len(products)
    if scale == 0.0 or not np.isfinite(products).all() or not np.isfinite(along).all():
        return np.zeros(len(products))  # nothing to ask; an infinite loss is reported elsewhere
    quadratic = products / scale + np.eye(len(products)) * _RIDGE
    lower = np.linalg.cholesky(quadratic)
    linear = along / scale + quadratic @ np.full(len(along), strength)
    above, _ = nnls(lower.T, -solve_triangular(lower, linear, lower=True))
    return np.asarray(above + strength, dtype=np.float64)
