"""What a person moves in MLflow stands in the history within seconds, where the watcher runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from perdure.config import Workspace
from perdure.flows import model_lock
from perdure.flows.service.mlflow_moves import Moves
from perdure.tasks.registry.news import News
from tests.flows.service.herald_kit import promote, versions, workspace


def is_recorded(ws: Workspace) -> bool:
    standing = News(ws).standing()
    assert standing is not None
    return not standing.moved


def test_a_move_is_recorded_once_the_model_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    ws = workspace(tmp_path / "w")
    registry = versions(ws)
    promote(registry, 1)
    promote(registry, 3)
    moves = Moves(lambda: ws)
    moves.look()
    before = list(registry.history())
    registry.client.call("set_registered_model_alias", "weather", "champion", "2")
    at = datetime.now(UTC)
    with model_lock.hold(ws, "retrain"):
        moves.look()
        assert not is_recorded(ws)
    moves.look()
    assert is_recorded(ws)
    moves.look()
    event, *held = list(registry.history())[len(before) :]
    assert (event.action, event.version, event.by) == ("rolled back", 2, "MLflow")
    assert {one.action for one in held} <= {"held"}
    since = datetime.fromisoformat(registry.read().champion_since or "")
    assert timedelta(0) <= since - at < timedelta(seconds=60)
