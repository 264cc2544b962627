"""Averaged gradient episodic memory: no step against the gradient of the past.

    r = ∇ ℓ(memory batch)        g = ∇ ℓ(new batch)
    g ← g - min(0, gᵀr / rᵀr) r        θ ← θ - η g

Where g would raise the loss of the memory batch, the part of it that does so is taken out; the
rest is the nearest gradient that does not. The memory is never learned from, only asked: it
forgets more than replay of the same rows, and follows the new more freely.

The memory has the same share of each experience, as `replay` with `experience-balanced`; each
step draws `batch_size` rows of it, with replacement. The first experience has no constraint,
nor has a step whose r is not finite. Under `precision = "float16"` r is taken in float32.

State: `x` (size, ...) as the network gets it, `y` int64 (size,) or float32 (size, 1), `task`
int64 (size,), `experience` int64 (size,), `weight` float32 (size,) descending.
Fits classification and regression. Combines with nothing.

Reference: Chaudhry et al., "Efficient lifelong learning with A-GEM", ICLR 2019,
https://arxiv.org/abs/1812.00420
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from perdure.strategies.declaration import Settings, Strategy

if TYPE_CHECKING:
    from perdure.strategies.plugins.base import Remembering


class AgemSettings(Settings):
    """Settings of `agem`."""

    size: Annotated[int, Field(ge=1, le=10_000_000)] = 2000
    """Rows that the memory holds at most."""
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Memory rows of each reference gradient; by default `training.batch_size`."""


def _plugin(settings: AgemSettings) -> Remembering:
    from perdure.strategies.agem.plugin import Agem

    return Agem(settings.size, settings.batch_size)


STRATEGY = Strategy(
    name="agem",
    summary="keeps a sample of each experience and takes no step against its gradient",
    settings=AgemSettings,
    memory="`size` rows",
    cost="a second forward and backward pass in each step, over `batch_size` memory rows",
    fails="where classes come one after the other: the constraint is on an average, and is weaker "
    "than learning the same rows again by replay",
    reference="Chaudhry et al. 2019, https://arxiv.org/abs/1812.00420",
    parallel=True,
    standalone="it must see the gradient of the new rows as it is, and has a memory of its own",
    plugin=_plugin,
)
