"""Joint training: a new model, on all rows so far. A reference, not for production.

    θ ← θ₀, drawn again       θ ← θ - η ∇ ℓ(batch of all rows of all experiences)

What retraining from scratch each time would reach: the bound that others are measured against.
The optimizer starts again as well. Its memory and the cost of an experience grow with every
experience, so it keeps no promise about cost; `cumulative` is the same with the model going on.

State: `x` (rows, ...) as the network gets it, `y` int64 (rows,) or float32 (rows, 1), `task`
int64 (rows,): every row since the strategy was chosen. Where the model begins with a file of
trained weights, these are θ₀ each time, as they were when the learner began: it holds them.
Fits classification and regression. Combines with nothing.

Reference: Avalanche's `JointTraining`; Lomonaco et al., "Avalanche: an end-to-end library for
continual learning", CLVision 2021, https://arxiv.org/abs/2104.00405
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.strategies.declaration import Settings, Strategy

if TYPE_CHECKING:
    from perdure.strategies.plugins.base import Remembering


def _plugin(settings: Settings) -> Remembering:
    from perdure.strategies.cumulative.plugin import Cumulative

    return Cumulative(reset=True)


STRATEGY = Strategy(
    name="joint",
    summary="keeps every row and trains a new model on all of them: the bound to measure against",
    memory="every row ever seen, in every version, and the trained weights where the model begins "
    "with a file of them",
    cost="each experience costs as much as all of them together, from scratch",
    fails="when there are many experiences: its cost and its memory grow with each",
    reference="Lomonaco et al. 2021, https://arxiv.org/abs/2104.00405",
    parallel=True,
    bounded=False,
    copies_rows=True,
    resets_model=True,
    standalone="it learns every row again, so there is nothing to hold on to",
    plugin=_plugin,
)
