"""GDumb: a balanced memory, and a new model trained on nothing else.

    θ ← θ₀, drawn again       θ ← θ - η ∇ ℓ(memory batch)

When an experience comes, its rows enter a memory that is as even over the classes as it can be
(the greedy sampler of the paper: a place is taken from the largest class only); then the model
starts again, as does the optimizer, and learns the memory alone. Nothing is forgotten but what
is not in the memory, and nothing of the model's past helps. It shows how much of another
strategy's result comes from its rows alone. The first experience too is learned from the memory.

State: `x` (size, ...) as the network gets it, `y` int64 (size,), `task` int64 (size,),
`weight` float32 (size,) descending. Where the model begins with a file of trained weights, these
are θ₀ each time, as they were when the learner began: it holds them.
Fits classification. Combines with nothing.

Reference: Prabhu et al., "GDumb: a simple approach that questions our progress in continual
learning", ECCV 2020, https://doi.org/10.1007/978-3-030-58536-5_31
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from perdure.strategies.declaration import Settings, Strategy

if TYPE_CHECKING:
    from perdure.strategies.plugins.base import Remembering


class GDumbSettings(Settings):
    """Settings of `gdumb`."""

    size: Annotated[int, Field(ge=1, le=10_000_000)] = 5000
    """Rows that the memory holds at most."""


def _plugin(settings: GDumbSettings) -> Remembering:
    from perdure.strategies.gdumb.plugin import GDumb

    return GDumb(settings.size)


STRATEGY = Strategy(
    name="gdumb",
    summary="keeps as many rows of each class and trains a new model on them alone",
    settings=GDumbSettings,
    fits=("classification",),
    memory="`size` rows, and the trained weights where the model begins with a file of them",
    cost="each experience trains on `size` rows from scratch, whatever its own size; a step is "
    "that of naive",
    fails="when the memory is small for the task, or the rows are many: most are never learned "
    "from",
    reference="Prabhu et al. 2020, https://doi.org/10.1007/978-3-030-58536-5_31",
    parallel=True,
    copies_rows=True,
    resets_model=True,
    standalone="it trains a new model on its memory alone, so there is nothing to hold on to",
    plugin=_plugin,
)
