"""Two at once: one wins, the other is told (exit 4), and the history is right."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from perdure.errors import LockHeld
from perdure.flows import release
from perdure.flows.promote import promote
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from perdure.tasks.registry.changes import Changes
from tests.promises import kit
from tests.promises.journey import perdure

# Threads share their filters: what one of them lets pass may be an error again for the other.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_rollback_beside_a_retraining(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The retraining stands still in the middle, and a real process asks for a rollback."""
    retrain.fn(str(workspace))
    kit.ingest(workspace, kit.table(2))
    reached, go_on = threading.Event(), threading.Event()
    carry_out = Changes._carry_out

    def slowly(self: Changes, *arguments: Any, fresh: bool) -> None:
        reached.set()
        assert go_on.wait(120)
        carry_out(self, *arguments, fresh=fresh)

    monkeypatch.setattr(Changes, "_carry_out", slowly)
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(retrain.fn(str(workspace))))
    thread.start()
    try:
        assert reached.wait(120)
        result = perdure("rollback", "--json", cwd=workspace)
        status = perdure("status", "--json", cwd=workspace)
    finally:
        go_on.set()
        thread.join(120)
    assert result.code == 4
    assert result.out == ""
    assert "for retrain" in result.err
    assert "Nothing was changed" in result.err
    assert status.code == 0  # who only reads does not wait
    assert status.json["champion"]["version"] == 1
    assert [one.version for one in done[0].learned] == [2]
    events = kit.registry(workspace).history()
    assert [(e.action, e.version) for e in events] == [("promoted", 1), ("promoted", 2)]


def test_many_at_once_and_each_either_wins_or_is_told(workspace: Path) -> None:
    """Threads, as fast as they can: what the winners did is the history, in their order."""
    kit.ingest(workspace, kit.table(2), kit.table(3))
    retrain.fn(str(workspace))
    before = len(kit.registry(workspace).history())
    start = threading.Barrier(6)
    won: list[tuple[str, int]] = []
    messages: list[LockHeld] = []

    def run(wish: str, version: int) -> None:
        start.wait(60)
        for _ in range(300):
            try:
                if wish == "rolled back":
                    changed = rollback.fn(str(workspace), to=version, keep_data=True).changed
                else:
                    changed = promote.fn(str(workspace), version=version).changed
            except LockHeld as error:
                messages.append(error)
                time.sleep(0.05)
            else:
                won.extend([(wish, version)] * changed)
                return

    wishes = [("rolled back", 1), ("rolled back", 2), ("promoted", 3)] * 2
    threads = [threading.Thread(target=run, args=wish) for wish in wishes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert messages
    assert won
    events = kit.registry(workspace).history()[before:]
    assert sorted((e.action, e.version) for e in events) == sorted(won)
    champion = kit.registry(workspace).read().champion
    assert champion.version == events[-1].version
    found = kit.picture(workspace)
    assert found["intent"] == found["left"] == []


def test_the_lock_is_of_the_model_not_of_the_one_who_asks(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command that moves anything asks for it."""
    from perdure import config
    from perdure.tasks import locks

    [first] = [path.stem for path in (workspace / "data" / "experiences").iterdir()]
    with locks.hold(config.read(workspace), "model", "a test"):
        for call in (
            lambda: retrain.fn(str(workspace)),
            lambda: promote.fn(str(workspace), version=1),
            lambda: rollback.fn(str(workspace)),
            lambda: release.release(str(workspace), [first]),
            lambda: release.quarantine(str(workspace), [first], "x"),
        ):
            with pytest.raises(LockHeld, match="a test"):
                call()
