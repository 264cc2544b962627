"""Memory aware synapses: hold each weight as firmly as the outputs hang on it.

After experience k with weights θ_k, from one gradient per row, no target needed:

    Ω_k = 1/N Σ_n |∂‖f(x_n)‖² / ∂θ|        f: logits, or the standardised value

    Ω ← γΩ + Ω_k                           γ: `decay`, 1 in the paper

While learning, the loss gets `penalty` · Σ_i Ω_i (θ_i - θ*_i)², θ* the weights where the last
experience ended. The first experience has no penalty. Avalanche's plugin takes the absolute
value of a batch's mean gradient, in which rows cancel out; this one each row's.

The loss that is reported for an epoch is without the penalty.

State: `A/<parameter>`, Ω, float32, each shaped as its parameter; θ* are the learner's weights.
Fits classification and regression. Combines with `replay` and `lwf`: Ω takes the new rows alone.

Reference: Aljundi et al., "Memory aware synapses: learning what (not) to forget", ECCV 2018,
https://arxiv.org/abs/1711.09601
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from perdure.strategies.declaration import Settings, Strategy

if TYPE_CHECKING:
    from perdure.strategies.plugins.base import Remembering


class MasSettings(Settings):
    """Settings of `mas`."""

    penalty: Annotated[float, Field(ge=0, le=1e6)] = 0.01
    """λ: weight of the penalty in the loss; 0 is naive fine-tuning."""
    decay: Annotated[float, Field(ge=0, le=1)] = 1.0
    """γ: how much of the importance outlives each later experience; 1 forgets nothing."""
    rows: Annotated[int, Field(ge=1)] | None = None
    """Rows that the importance is taken from, at most, drawn at random; by default all
    training rows of the experience."""


def _plugin(settings: MasSettings) -> Remembering:
    from perdure.strategies.mas.plugin import MemoryAwareSynapses

    return MemoryAwareSynapses(settings.penalty, settings.decay, settings.rows)


STRATEGY = Strategy(
    name="mas",
    summary="keeps how much the outputs hang on each weight and pulls it back where it was",
    settings=MasSettings,
    memory="one number a weight; while learning three more",
    cost="two passes over the weights a step; a gradient of each row (or of `rows` of them) "
    "once an experience",
    fails="as `ewc`; large outputs make large importances, so the penalty must be tuned again "
    "when the network or its training changes",
    reference="Aljundi et al. 2018, https://arxiv.org/abs/1711.09601",
    parallel=True,
    combines=frozenset({"lwf", "replay"}),
    conflicts_reason="ewc and si pull the same weights back, each by its own measure: choose one",
    plugin=_plugin,
)
