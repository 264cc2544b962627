"""Experience replay: every batch mixes new rows with rows from a memory of the past.

    θ ← θ - η ∇ ℓ(new batch ∪ memory batch)

The memory is a reservoir: each of the n rows ever seen draws a weight u ~ U(0, 1) and the
`size` rows of highest weight stay, so each row ever seen is in it with the same probability
min(1, size / n), however many experiences there were. It is updated after an experience.

State: `x` float32 (size, width) as the network sees it, `y` int64 (size,) or float32
(size, 1), `task` int64 (size,) task labels, `weight` float32 (size,) descending.
Fits classification and regression. Combines with `ewc`.

References: Rolnick et al., "Experience replay for continual learning", NeurIPS 2019,
https://arxiv.org/abs/1811.11682; Vitter, "Random sampling with a reservoir", ACM TOMS 11
(1985), https://doi.org/10.1145/3147.3165; Avalanche's `ReplayPlugin`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from perdure.strategies.declaration import Settings, Strategy

if TYPE_CHECKING:
    from perdure.strategies.plugins.base import Remembering


class ReplaySettings(Settings):
    """Of `replay`."""

    size: Annotated[int, Field(ge=1, le=10_000_000)] = 2000
    """Rows that the memory holds at most."""
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Memory rows in each batch, beside the new ones; by default `training.batch_size`."""


def _plugin(settings: ReplaySettings) -> Remembering:
    from perdure.strategies.plugins.replay import Replay

    return Replay(settings.size, settings.batch_size)


STRATEGY = Strategy(
    name="replay",
    summary="keeps a random sample of all rows seen and mixes it into every batch",
    settings=ReplaySettings,
    combines=frozenset({"ewc"}),
    plugin=_plugin,
)
