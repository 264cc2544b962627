"""Naive fine-tuning: train on the new experience, do nothing against forgetting.

    θ ← θ - η ∇ ℓ(new)

The reference that every other strategy must beat. It has no settings and keeps nothing but
the optimizer's state. Fits classification and regression. Combines with nothing: it is what the
others add to.

Reference: French, "Catastrophic forgetting in connectionist networks", Trends in Cognitive
Sciences 3 (1999), https://doi.org/10.1016/S1364-6613(99)01294-2
"""

from __future__ import annotations

from perdure.strategies.declaration import Strategy

STRATEGY = Strategy(
    name="naive",
    summary="keeps nothing: the reference for forgetting",
    parallel=True,
    standalone="it is training with nothing added, so beside another strategy leave it out",
)
