"""Experience replay: every batch mixes new rows with rows from a memory of the past.

    θ ← θ - η ∇ ℓ(new batch ∪ memory batch)

Each row draws a weight u ~ U(0, 1) once, when its experience has been learned, and the memory
keeps `size` rows:

- `policy = "reservoir"`: those of highest weight, so that each of the n rows ever seen is in
  it with the same probability min(1, size / n), however many experiences there were. What was
  seen often is held often.
- `"class-balanced"`: the same number of each class seen; `"experience-balanced"`: of each
  experience. Within a class or experience those of highest weight, so that each of its rows is
  there with the same probability. What a small one cannot fill goes to the others, so that no
  place stays empty. With more experiences than rows, a random sample of the experiences has
  one row each: the memory never holds more than `size` rows.

State: `x` (size, ...) as the network gets it, `y` int64 (size,) or float32 (size, 1), `task`
int64 (size,) task labels, `weight` float32 (size,) descending; `experience` int64 (size,),
where the policy needs it.
Fits classification and regression; `class-balanced` needs classes. Combines with `ewc`, `lwf`,
`mas` and `si`.

References: Rolnick et al., "Experience replay for continual learning", NeurIPS 2019,
https://arxiv.org/abs/1811.11682; Vitter, "Random sampling with a reservoir", ACM TOMS 11
(1985), https://doi.org/10.1145/3147.3165; Efraimidis and Spirakis, "Weighted random sampling
with a reservoir", Information Processing Letters 97 (2006),
https://doi.org/10.1016/j.ipl.2005.11.003; Avalanche's `ReplayPlugin`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from perdure.config import Config
from perdure.strategies.declaration import Settings, Strategy

if TYPE_CHECKING:
    from perdure.strategies.plugins.base import Remembering


class ReplaySettings(Settings):
    """Settings of `replay`."""

    size: Annotated[int, Field(ge=1, le=10_000_000)] = 2000
    """Rows that the memory holds at most."""
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Memory rows in each batch, beside the new ones; by default `training.batch_size`."""
    policy: Literal["reservoir", "class-balanced", "experience-balanced"] = "reservoir"
    """Which rows stay: a random sample of all, or the same share of each class or experience."""


def _unfit(settings: ReplaySettings, config: Config) -> str:
    if settings.policy == "class-balanced" and config.data.task == "regression":
        return 'policy = "class-balanced": a regression has no classes'
    return ""


def _plugin(settings: ReplaySettings) -> Remembering:
    from perdure.strategies.replay.plugin import Replay

    return Replay(settings.size, settings.batch_size, settings.policy)


STRATEGY = Strategy(
    name="replay",
    summary="keeps a random sample of all rows seen and mixes it into every batch",
    settings=ReplaySettings,
    memory="`size` rows",
    cost="a step learns from `batch_size` memory rows more: with as many as new ones, twice the "
    "time",
    fails="when rows may not be kept, or when so few can be that the model learns them by heart",
    reference="Rolnick et al. 2019, https://arxiv.org/abs/1811.11682",
    parallel=True,
    combines=frozenset({"ewc", "lwf", "mas", "si"}),
    unfit=_unfit,
    plugin=_plugin,
)
