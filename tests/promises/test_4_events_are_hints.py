"""Promise 4. A lost, doubled or late trigger changes when, never what."""

from __future__ import annotations

from pathlib import Path

from perdure.flows.retrain import retrain
from tests.promises import kit


def test_a_retraining_drains_whatever_the_cursor_has_not_seen(workspace: Path) -> None:
    ids = kit.ingest(workspace, kit.table(2), kit.table(3))
    learned = retrain.fn(str(workspace)).learned
    assert [one.experience for one in learned][1:] == ids
    assert [one.experience[:6] for one in learned] == ["000001", "000002", "000003"]


def test_a_doubled_trigger_does_nothing_and_ends_well(workspace: Path) -> None:
    retrain.fn(str(workspace))
    before = kit.picture(workspace)
    again = retrain.fn(str(workspace))
    assert again.learned == ()
    assert again.champion == 1
    assert kit.picture(workspace) == before


def test_late_triggers_give_the_same_learner(tmp_path: Path) -> None:
    prompt, late = kit.make(tmp_path / "prompt"), kit.make(tmp_path / "late")
    for number in (2, 3):
        kit.ingest(prompt, kit.table(number))
        retrain.fn(str(prompt))
        kit.ingest(late, kit.table(number))
    retrain.fn(str(late))
    assert kit.learners(prompt) == kit.learners(late)
    moves = [e for e in kit.registry(late).history() if e.action != "metric fell"]
    assert [(e.action, e.version) for e in moves] == [("promoted", n) for n in (1, 2, 3)]


def test_an_experience_that_is_still_being_added_waits(workspace: Path) -> None:
    """A retraining beside an ingest leaves alone what is not committed yet."""
    from perdure import config
    from perdure.tasks import experiences, locks

    retrain.fn(str(workspace))
    [new] = kit.ingest(workspace, kit.table(2))
    ws = config.read(workspace)
    experiences.begin(ws, [new])
    with locks.hold(ws, "data", "ingest"):
        assert retrain.fn(str(workspace)).learned == ()
    assert [one.experience for one in retrain.fn(str(workspace)).learned] == [new]
