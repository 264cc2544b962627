"""Champion and challenger that a person moves in MLflow: recorded in the history within seconds.

MLflow does not say when an alias was moved, so the time in the history is that of the first
command after it. `perdure up` has one run as soon as it sees the move.
"""

from __future__ import annotations

import threading

from perdure.config import Workspace
from perdure.service.loops import run_command
from perdure.tasks import locks
from perdure.tasks.registry.state import StateReader

LOOK_S = 5.0
"""How often MLflow is asked where the aliases are."""
AGAIN_S = 60.0
"""When a move that could not be recorded is tried again."""


def record(ws: Workspace, stopped: threading.Event) -> float:
    """Have a move recorded, if there is one and the model is not locked.

    Returns:
        In how many seconds to look again.

    Raises:
        Unreachable: MLflow does not answer.
    """
    if not _is_moved(ws) or locks.is_held(ws, "model"):
        return LOOK_S
    run_command(ws, "status", stopped)  # which records it
    return AGAIN_S if _is_moved(ws) else LOOK_S


def _is_moved(ws: Workspace) -> bool:
    state = StateReader(ws).read()
    return state is not None and state.moved
