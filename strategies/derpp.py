"""Dark experience replay ++: `der`, and the labels of the memory rows count as well.

    loss = ℓ(new batch) + alpha · 1/(m K) Σ_j ‖f(x_j; θ) - z_j‖² + beta · ℓ(memory batch)

z_j are the K outputs that the model gave for memory row j right after the experience that it
came in; see `der`, of which everything else holds too. Both terms take the same memory rows,
where the paper draws twice: half the forward and backward passes. With `alpha` 0 and `beta` 1
it is `replay`, but for the weight of the two parts. The first experience has no further terms.

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

from perdure.strategies.declaration import Strategy
from perdure.strategies.der import DerSettings

if TYPE_CHECKING:
    from perdure.strategies.plugins.base import Remembering


class DerPlusSettings(DerSettings):
    """Settings of `der++`."""

    beta: Annotated[float, Field(ge=0, le=1e6)] = 0.5
    """β: weight of the memory rows' own loss."""


def _plugin(settings: DerPlusSettings) -> Remembering:
    from perdure.strategies.der.plugin import Der

    return Der(settings.size, settings.batch_size, settings.alpha, settings.beta)


STRATEGY = Strategy(
    name="der++",
    summary="keeps a random sample of all rows with labels and the outputs for them",
    settings=DerPlusSettings,
    memory="`size` rows, each with its outputs",
    cost="a step learns from `batch_size` memory rows more; after an experience one forward pass "
    "over the rows kept",
    fails="when rows may not be kept; when the rule drifts, so that the old outputs are no longer "
    "right, lower `alpha` or use replay",
    reference="Buzzega et al. 2020, https://arxiv.org/abs/2004.07211",
    parallel=True,
    standalone="its loss takes the place of the criterion, with a memory of its own in every batch",
    plugin=_plugin,
)
