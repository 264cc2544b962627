"""What a person moves in MLflow stands in the history within seconds, where the watcher runs."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from perdure.config import Workspace
from perdure.orchestration import model_lock
from perdure.service import mlflow_moves
from perdure.tasks.registry.state import StateReader
from tests.service.notify.kit import promote, versions, workspace


def is_recorded(ws: Workspace) -> bool:
    state = StateReader(ws).read()
    assert state is not None
    return not state.moved


def test_a_move_is_recorded_once_the_model_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    ws = workspace(tmp_path / "w")
    registry = versions(ws)
    promote(registry, 1)
    promote(registry, 3)
    stopped = threading.Event()
    mlflow_moves.record(ws, stopped)
    before = list(registry.history())
    registry.client.call("set_registered_model_alias", "weather", "champion", "2")
    at = datetime.now(UTC)
    with model_lock.hold(ws, "retrain"):
        mlflow_moves.record(ws, stopped)
        assert not is_recorded(ws)
    mlflow_moves.record(ws, stopped)
    assert is_recorded(ws)
    mlflow_moves.record(ws, stopped)
    event, *held = list(registry.history())[len(before) :]
    assert (event.action, event.version, event.by) == ("rolled back", 2, "MLflow")
    assert {one.action for one in held} <= {"held"}
    since = datetime.fromisoformat(registry.read().champion_since or "")
    assert timedelta(0) <= since - at < timedelta(seconds=60)
