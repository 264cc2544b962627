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

With `decay` γ below 1 the past fades: A ← γA + F_k, B ← γB + F_k θ_k after each experience.
`online` (Schwarz et al.) puts the centre where the last experience left the weights:

    A ← γA + F_k        penalty · Σ_i A_i (θ_i - θ_k,i)²

and keeps no B. Theirs multiplies the penalty by γ once more, which here is in `penalty`, and
divides each F by its size, which is not done here.

`form` says how the penalty acts. `gradient`: its gradient, in closed form, is added to that of
the loss before the optimizer's step. That is stable only while 2 · penalty · A ·
learning_rate stays well below 1 (plain SGD; momentum 0.9 multiplies it by ten). `proximal`:
after each step with learning rate η the exact minimum of penalty and distance,

    θ ← (θ + 2 · penalty · η B) / (1 + 2 · penalty · η A)

which is stable whatever the penalty. Momentum and Adam's scaling do not touch it, as they do
not touch AdamW's weight decay; so `penalty` means another thing than in `gradient`: with SGD
and momentum 0.9 ten times as much holds about as firmly, with Adam far more is needed. On
Permuted MNIST the best of both were equally good (0.960 and 0.959 on validation rows, one
seed), so the default is `gradient`, which is the paper's.

The loss that is reported for an epoch is without the penalty, and can be compared with that of
the validation rows.

State: `A/<parameter>` and `B/<parameter>`, float32, each shaped as its parameter.
Fits classification and regression. Combines with `replay` and `lwf`: the Fisher takes the new
rows alone, and their loss without the distillation.

References: Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS
114 (2017), https://arxiv.org/abs/1612.00796; Huszár, "Note on the quadratic penalties in
elastic weight consolidation", PNAS 115 (2018), https://arxiv.org/abs/1712.03847; Schwarz et
al., "Progress & compress", ICML 2018, https://arxiv.org/abs/1805.06370
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from perdure.strategies.declaration import Settings, Strategy

if TYPE_CHECKING:
    from perdure.strategies.plugins.base import Remembering


class EwcSettings(Settings):
    """Settings of `ewc`."""

    penalty: Annotated[float, Field(ge=0, le=1e6)] = 100.0
    """λ: weight of the penalty in the loss; 0 is naive fine-tuning."""
    online: bool = False
    """Hold the weights where the last experience left them, instead of at the mean of all
    experiences, each weight's by what it mattered; keeps half as much."""
    decay: Annotated[float, Field(ge=0, le=1)] = 1.0
    """γ: how much of the importance outlives each later experience; 1 forgets nothing."""
    rows: Annotated[int, Field(ge=1)] | None = None
    """Rows that the Fisher information is taken from, at most, drawn at random; by default all
    training rows of the experience."""
    form: Literal["gradient", "proximal"] = "gradient"
    """How the penalty acts: in the gradient, or as a step of its own after the optimizer's,
    which no penalty makes unstable."""


def _plugin(settings: EwcSettings) -> Remembering:
    from perdure.strategies.ewc.plugin import Ewc

    return Ewc(
        settings.penalty,
        settings.online,
        settings.decay,
        settings.rows,
        settings.form == "proximal",
    )


STRATEGY = Strategy(
    name="ewc",
    summary="keeps how much each weight mattered and pulls it back where it was",
    settings=EwcSettings,
    memory="two numbers a weight; one if online",
    cost="two passes over the weights a step; a gradient of each row (or of `rows` of them) "
    "once an experience",
    fails="when new classes come without old ones beside them (old outputs are pushed down, "
    "which no weight alone is to blame for), and when the experiences need the same weights to "
    "be different. An input that is never 0, as dark pixels are once they are standardised, "
    "makes its weights matter to every experience, which then stand in each other's way. A "
    "penalty too high stops learning, or diverges unless the form is proximal",
    reference="Kirkpatrick et al. 2017, https://arxiv.org/abs/1612.00796",
    parallel=True,
    combines=frozenset({"lwf", "replay"}),
    conflicts_reason="mas and si pull the same weights back, each by its own measure: choose one",
    plugin=_plugin,
)
