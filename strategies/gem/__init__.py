"""Gradient episodic memory: no step against the gradient of any past experience.

    r_k = ∇ ℓ(memory of experience k)        g = ∇ ℓ(new batch)
    g ← argmin_h ½‖h - g‖²  subject to  hᵀr_k ≥ 0 for every k        θ ← θ - η g

Solved by its dual, as small as the number of memories: h = g + Σ_k v_k r_k, v ≥ `strength`. Only
where some constraint is broken; a margin `strength` above 0 favours learning the past better.

Each step takes one forward and backward pass over each memory. So that the cost does not grow
for ever there are at most `memories` of them: where there would be more, the two oldest become
one, a random sample of all the rows that either stands for. The oldest constraint is then that
of the early experiences together, and all others stay one to one. An r_k that is not finite is
left out of a step. Under `precision = "float16"` they are taken in float32.

State: `x` (rows, ...) as the network gets it, `y` int64 (rows,) or float32 (rows, 1), `task`
int64 (rows,), `weight` float32 (rows,), `experience` int64 (rows,) the place of each row's
memory, the oldest 0; rows ≤ `size` · `memories`.
Fits classification and regression. Combines with nothing.

Reference: Lopez-Paz and Ranzato, "Gradient episodic memory for continual learning", NeurIPS
2017, https://arxiv.org/abs/1706.08840
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from perdure.strategies.declaration import Settings, Strategy

if TYPE_CHECKING:
    from perdure.strategies.plugins.base import Remembering


class GemSettings(Settings):
    """Settings of `gem`."""

    size: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """Rows of each memory."""
    memories: Annotated[int, Field(ge=1, le=100)] = 10
    """Memories at most; beyond, the two oldest become one."""
    strength: Annotated[float, Field(ge=0, le=100)] = 0.5
    """Margin γ: at least so much of each memory's gradient is added to one that breaks a
    constraint."""


def _plugin(settings: GemSettings) -> Remembering:
    from perdure.strategies.gem.plugin import Gem

    return Gem(settings.size, settings.memories, settings.strength)


STRATEGY = Strategy(
    name="gem",
    summary="keeps rows of each experience and takes no step against the gradient of any",
    settings=GemSettings,
    memory="`size` · `memories` rows; while it learns, a gradient of all weights for each memory",
    cost="in each step a forward and backward pass over every memory, and a small quadratic "
    "programme on the CPU",
    fails="when steps must be fast: with ten memories it is many times slower than replay",
    reference="Lopez-Paz and Ranzato 2017, https://arxiv.org/abs/1706.08840",
    parallel=True,
    standalone="it must see the gradient of the new rows as it is, and has memories of its own",
    plugin=_plugin,
)
