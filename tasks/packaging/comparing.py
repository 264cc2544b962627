"""Whether the graph of a version gives what its learner gives."""

from __future__ import annotations

from pathlib import Path

from perdure.config import Workspace
from perdure.tasks.packaging.layout import LEARNER, MODEL, columns_of, corrupt
from perdure.tasks.packaging.reading import rows_in

COMPARED = 1024
"""Rows, at most, that a graph is compared with its learner on later."""
AT_ONCE = 256
"""Rows that are predicted together, at most."""


def compare(workspace: Workspace, folder: Path) -> int:
    """Compare what the graph of a version folder gives with what its learner gives.

    Args:
        workspace: Says how to rebuild the learner's model.
        folder: Of a version; its manifests were compared already.

    Returns:
        On how many of the evaluation rows.

    Raises:
        Corrupt: They differ by more than an export may, or the graph could do more than compute.
        ConfigError: The learner does not fit the configuration.
    """
    import numpy as np
    import torch

    from perdure.strategies.export import graph
    from perdure.strategies.features.encoding import encode
    from perdure.strategies.features.modules import rows_at_once
    from perdure.strategies.learner.learner import Learner

    learner = Learner.load(folder / LEARNER, workspace.config, workspace.root)
    rows, module = rows_in(folder), learner.inference()
    # Spread over all experiences, whose rows stand one after the other.
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), COMPARED)).astype(int))
    raw = encode(learner.spec, columns_of(learner.spec, rows.iloc[chosen]))
    exported = graph.load(folder / MODEL)
    try:
        with torch.inference_mode():
            for part in torch.split(raw, rows_at_once(learner.spec, AT_ONCE)):
                expected, found = module(part), exported(part)
                if not isinstance(found, torch.Tensor) or not graph.alike(expected, found):
                    raise corrupt(folder / MODEL, "it gives other outputs than the learner")
    except RuntimeError as error:  # operators that are let through, of shapes that do not fit
        raise corrupt(folder / MODEL, f"it cannot predict: {str(error)[:200]}") from error
    return len(chosen)
