"""Dark experience replay: memory rows keep the outputs that the model had for them.

    loss = ℓ(new batch) + alpha · 1/(m K) Σ_j ‖f(x_j; θ) - z_j‖²        j: the m memory rows

z_j are the K outputs (logits, or the standardised value) that the model gave for row j right
after the experience that it came in, in evaluation mode. They say more of the past than the
label alone: which other classes a row resembles. Where outputs were added since for new
classes, only those that there were are compared.

The paper keeps what the model says while it still learns a row. On Split MNIST (validation
rows, one seed, memory of 1,000) that reached 0.927 in three epochs of Adam, against 0.941 with
what it says at the end of the experience; kept in the last of the epochs 0.944, no difference
that one seed can show. In one epoch: 0.922 against 0.925. So the end it is, as in Avalanche.

The memory is the reservoir of `replay`, and new rows enter it when they have been learned. One
forward pass serves new and memory rows. The first experience has no second term.

State: `x` (size, ...) as the network gets it, `y` int64 (size,) or float32 (size, 1), `task`
int64 (size,), `weight` float32 (size,) descending, `logits` float32 (size, K), `known` int64
(size,) how many outputs there were when the row was kept.
Fits classification and regression. Combines with nothing.

Reference: Buzzega et al., "Dark experience for general continual learning: a strong, simple
baseline", NeurIPS 2020, https://arxiv.org/abs/2004.07211
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from perdure.strategies.declaration import Settings, Strategy

if TYPE_CHECKING:
    from perdure.strategies.plugins.base import Remembering


class DerSettings(Settings):
    """Settings of `der`."""

    size: Annotated[int, Field(ge=1, le=10_000_000)] = 2000
    """Rows that the memory holds at most."""
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Memory rows in each batch, beside the new ones; by default `training.batch_size`."""
    alpha: Annotated[float, Field(ge=0, le=1e6)] = 0.5
    """α: weight of the squared distance to the outputs that were kept."""


def _plugin(settings: DerSettings) -> Remembering:
    from perdure.strategies.der.plugin import Der

    return Der(settings.size, settings.batch_size, settings.alpha, beta=0.0)


STRATEGY = Strategy(
    name="der",
    summary="keeps a random sample of all rows with the outputs for them, and holds the model to "
    "that",
    settings=DerSettings,
    memory="`size` rows, each with its outputs",
    cost="a step learns from `batch_size` memory rows more; after an experience one forward pass "
    "over the rows kept",
    fails="when what was learned first was wrong, or the rule drifts: the old outputs are held on "
    "to; der++ minds less, for it has the labels too",
    reference="Buzzega et al. 2020, https://arxiv.org/abs/2004.07211",
    parallel=True,
    standalone="its loss takes the place of the criterion, with a memory of its own in every batch",
    plugin=_plugin,
)
