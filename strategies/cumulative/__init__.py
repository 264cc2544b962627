"""Cumulative training: the model goes on, on all rows so far. A reference, not for production.

    θ ← θ - η ∇ ℓ(batch of all rows of all experiences)

What a strategy that forgets nothing and starts from the last model could reach. Its memory and
the cost of an experience grow with every experience, so it keeps no promise about cost; `joint`
is the same from scratch.

State: `x` (rows, ...) as the network gets it, `y` int64 (rows,) or float32 (rows, 1), `task`
int64 (rows,): every row since the strategy was chosen.
Fits classification and regression. Combines with nothing.

Reference: Avalanche's `Cumulative`; Lomonaco et al., "Avalanche: an end-to-end library for
continual learning", CLVision 2021, https://arxiv.org/abs/2104.00405
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.strategies.declaration import Settings, Strategy

if TYPE_CHECKING:
    from perdure.strategies.plugins.base import Remembering


def _plugin(settings: Settings) -> Remembering:
    from perdure.strategies.cumulative.plugin import Cumulative

    return Cumulative(reset=False)


STRATEGY = Strategy(
    name="cumulative",
    summary="keeps every row and goes on training on all of them: a reference, never cheap",
    memory="every row ever seen, in every version",
    cost="each experience costs as much as all of them together",
    fails="when there are many experiences: its cost and its memory grow with each",
    reference="Lomonaco et al. 2021, https://arxiv.org/abs/2104.00405",
    parallel=True,
    bounded=False,
    copies_rows=True,
    standalone="it learns from every row as it is, so there is nothing to hold on to",
    plugin=_plugin,
)
