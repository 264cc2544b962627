"""Synaptic intelligence: what each weight did for the loss, added up while it learned.

At each step of the optimizer, with g the gradient of the loss (with `training.l1`, without the
penalty, not clipped) and Δθ the change of the weights in the step,

    ω ← ω - g Δθ

so that Σ_i ω_i is about how much the loss fell in the experience. At its end, with D the whole
change of the weights in it,

    Ω ← max(0, Ω + ω / (D² + ξ)),    ω ← 0

and in later experiences the loss gets `penalty` · Σ_i Ω_i (θ_i - θ*_i)², θ* the weights where
the last experience ended. Noise makes some ω negative: those lower Ω, never below 0, for a
negative Ω would push weights away without bound. So does the authors' own code. The first
experience has no penalty. Importance costs no pass over the rows.

Avalanche 0.6.0's plugin does nothing on a CPU, and does not say so: what it keeps of the
weights before a step is a view of the same memory, so every Δθ is 0.

The loss that is reported for an epoch is without the penalty. Early stopping goes back to the
ω of the epoch whose weights it goes back to.

State: `A/<parameter>`, Ω, float32, each shaped as its parameter; θ* are the learner's weights.
Fits classification and regression. Combines with `replay`: then the loss is that of new and
remembered rows together; and with `lwf`: then it is with the distillation.

References: Zenke, Poole and Ganguli, "Continual learning through synaptic intelligence",
ICML 2017, https://arxiv.org/abs/1703.04200; https://github.com/ganguli-lab/pathint
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from perdure.strategies.declaration import Settings, Strategy

if TYPE_CHECKING:
    from perdure.strategies.plugins.base import Remembering


class SiSettings(Settings):
    """Settings of `si`."""

    penalty: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    """c: weight of the penalty in the loss; 0 is naive fine-tuning."""
    damping: Annotated[float, Field(gt=0, le=1e3)] = 0.1
    """ξ, in squares of weights: bounds the importance of a weight that hardly moved."""


def _plugin(settings: SiSettings) -> Remembering:
    from perdure.strategies.si.plugin import SynapticIntelligence

    return SynapticIntelligence(settings.penalty, settings.damping)


STRATEGY = Strategy(
    name="si",
    summary="adds up what each weight did for the loss and pulls it back where it was",
    settings=SiSettings,
    memory="one number a weight; while learning four more",
    cost="five passes over the weights a step, and nothing at the end of an experience",
    fails="as `ewc`; and when an experience is so short, or its batches so small, that the "
    "noise of the gradients is most of what is added up",
    reference="Zenke, Poole and Ganguli 2017, https://arxiv.org/abs/1703.04200",
    parallel=True,
    combines=frozenset({"lwf", "replay"}),
    conflicts_reason="ewc and mas pull the same weights back, each by its own measure: choose one",
    plugin=_plugin,
)
