"""From a verdict or a wish to the change of the registry that it asks for. No outside system."""

from __future__ import annotations

from perdure.flows.decisions.evidence import arrived
from perdure.flows.decisions.forgetting import forgotten
from perdure.flows.decisions.gates import compared_with, passed, refused, tried, unlearnable
from perdure.flows.decisions.in_mlflow import entrants_moved_in_mlflow, moved_in_mlflow
from perdure.flows.decisions.parts import WAITS, expected, utc_now
from perdure.flows.decisions.people import (
    not_approved,
    pinned,
    promoted_by_hand,
    quarantined,
    released,
    unpinned,
)
from perdure.flows.decisions.pruning import PruneRules, prunable
from perdure.flows.decisions.rollback import rolled_back

__all__ = [
    "WAITS",
    "PruneRules",
    "arrived",
    "compared_with",
    "entrants_moved_in_mlflow",
    "expected",
    "forgotten",
    "moved_in_mlflow",
    "not_approved",
    "passed",
    "pinned",
    "promoted_by_hand",
    "prunable",
    "quarantined",
    "refused",
    "released",
    "rolled_back",
    "tried",
    "unlearnable",
    "unpinned",
    "utc_now",
]
