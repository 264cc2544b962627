"""Experience replay with asymmetric cross entropy: new classes do not push the old ones away.

    loss = ½ (ℓ(new batch; classes of the new batch) + ℓ(memory batch; all classes))
    θ ← θ - η ∇ loss

In the first term the softmax runs over the classes of the new batch alone, so that new rows do
not lower the outputs of classes that are not there to defend themselves; what is new and what
is old learn to compete through the memory rows alone. So the new rows must be in the memory
while they are learned: they enter it as their experience begins (in the paper, batch by batch;
an experience is here whole before it is learned). The paper takes the sum of the two terms; the
mean, as in Avalanche, suits the learning rate of `replay`. Label smoothing spreads the target of
a new row over the classes of the new batch, too, and no others. The memory is the reservoir of
`replay`. The first experience is learned as by `naive`, for there is no old class.

State: `x` (size, ...) as the network gets it, `y` int64 (size,), `task` int64 (size,),
`weight` float32 (size,) descending.
Fits classification. Combines with nothing.

Reference: Caccia et al., "New insights on reducing abrupt representation change in online
continual learning", ICLR 2022, https://arxiv.org/abs/2104.05025
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from perdure.strategies.declaration import Settings, Strategy

if TYPE_CHECKING:
    from perdure.strategies.plugins.base import Remembering


class ErAceSettings(Settings):
    """Settings of `er-ace`."""

    size: Annotated[int, Field(ge=1, le=10_000_000)] = 2000
    """Rows that the memory holds at most."""
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Memory rows in each batch, beside the new ones; by default `training.batch_size`."""


def _plugin(settings: ErAceSettings) -> Remembering:
    from perdure.strategies.er_ace.plugin import ErAce

    return ErAce(settings.size, settings.batch_size)


STRATEGY = Strategy(
    name="er-ace",
    summary="keeps a random sample of all rows; new rows compete among their own classes only",
    settings=ErAceSettings,
    fits=("classification",),
    memory="`size` rows",
    cost="a step learns from `batch_size` memory rows more",
    fails="when every experience has all the classes: then it is replay, with fewer of the old "
    "rows in its batches",
    reference="Caccia et al. 2022, https://arxiv.org/abs/2104.05025",
    parallel=True,
    standalone="its loss takes the place of the criterion, with a memory of its own in every batch",
    plugin=_plugin,
)
