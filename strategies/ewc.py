"""Elastic weight consolidation: hold each weight as firmly as the past needed it.

After experience k with weights θ_k, the diagonal empirical Fisher information, from one
gradient per row, so that it does not depend on the batch size:

    F_k = 1/N Σ_n (∂ℓ_n / ∂θ)²        ℓ_n: training loss of row n

While learning, the loss gets `penalty` · Σ_k Σ_i F_k,i (θ_i - θ_k,i)². All these quadratics
are one. With A = Σ_k F_k and B = Σ_k F_k θ_k

    Σ_k F_k (θ - θ_k)² = A (θ - B/A)² + constant

so memory and cost of a step do not grow with the number of experiences. `penalty` is the λ
of Avalanche's `EWCPlugin` and twice that of the paper's ½λ. The first experience has no
penalty. The Fisher takes the loss as it stands: cross entropy, which is a log-likelihood,
or the squared error (y - f)² of the standardised target.

State: `A/<parameter>` and `B/<parameter>`, float32, each shaped as its parameter.
Fits classification and regression. Combines with `replay`.

References: Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS
114 (2017), https://arxiv.org/abs/1612.00796; Huszár, "Note on the quadratic penalties in
elastic weight consolidation", PNAS 115 (2018), https://arxiv.org/abs/1712.03847
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from perdure.strategies.declaration import Settings, Strategy

if TYPE_CHECKING:
    from perdure.strategies.plugins.base import Remembering


class EwcSettings(Settings):
    """Of `ewc`."""

    penalty: Annotated[float, Field(ge=0, le=1e6)] = 100.0
    """λ: weight of the penalty in the loss; 0 is naive fine-tuning."""


def _plugin(settings: EwcSettings) -> Remembering:
    from perdure.strategies.plugins.ewc import Ewc

    return Ewc(settings.penalty)


STRATEGY = Strategy(
    name="ewc",
    summary="keeps how much each weight mattered and pulls it back where it was",
    settings=EwcSettings,
    combines=frozenset({"replay"}),
    plugin=_plugin,
)
