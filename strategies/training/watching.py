"""Validation rows of earlier experiences, which early stopping looks at beside the new ones.

A file of 365 rows has some 36 for validation: too few to show when to stop, and none that shows
what is forgotten. So a learner keeps up to `MOST` of the past ones, a uniform sample of all.
"""

from __future__ import annotations

import torch
from torch import Tensor

from perdure.strategies.learner.state import State

MOST = 1000
"""Rows that are kept."""


def joined(kept: State, x: Tensor, y: Tensor, experience: int) -> State:
    """The rows that are kept, and new ones after them.

    Args:
        kept: What `sample` gave; empty: nothing is kept yet.
        x: New rows, as `Prepare` gives them, on the CPU.
        y: Their targets.
        experience: Number of the experience; rows get their ranks from it, and from nothing else.

    Returns:
        `x`, `y` and `rank`, float64 (rows,), uniform in [0, 1); and `seen`, how many there were,
        also of those that are kept no longer.
    """
    source = torch.Generator().manual_seed(experience)
    new = {"x": x, "y": y, "rank": torch.rand(len(x), dtype=torch.float64, generator=source)}
    if not kept.tensors:
        return State(new, {"seen": len(x)})
    both = {name: torch.cat([kept.tensors[name], part]) for name, part in new.items()}
    return State(both, {"seen": kept.values["seen"] + len(x)})


def sample(rows: State) -> State:
    """The `MOST` rows of lowest rank, in the order of their arrival (Vitter 1985, algorithm R)."""
    places = torch.argsort(rows.tensors["rank"])[:MOST].sort().values
    return State({name: part[places] for name, part in rows.tensors.items()}, dict(rows.values))
