"""Promise 1. After a rollback it goes on as if the later versions had never been."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.flows import release
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from tests.promises import kit

STRATEGIES = '[{ name = "replay", size = 40 }, { name = "ewc", penalty = 50 }]'


def test_after_a_rollback_it_goes_on_as_if_the_later_versions_had_never_been(
    tmp_path: Path,
) -> None:
    """With everything that a learner can remember; each strategy by itself: tests/contracts."""
    one = kit.make(tmp_path / "one", strategies=STRATEGIES)
    kit.ingest(one, kit.table(2))
    retrain.fn(str(one))
    before = kit.learners(one)
    [bad] = kit.ingest(one, kit.turned(3))
    retrain.fn(str(one))
    abandoned = kit.learners(one)
    taken_back = rollback.fn(str(one), reason="it was bad")
    assert taken_back.version == 2
    assert taken_back.held == (bad,)
    assert kit.learners(one) == before
    kit.ingest(one, kit.table(4))
    [learned] = retrain.fn(str(one)).learned

    # The same, where nothing ever learned from the bad experience.
    other = kit.make(tmp_path / "other", strategies=STRATEGIES)
    kit.ingest(other, kit.table(2))
    retrain.fn(str(other))
    assert kit.ingest(other, kit.turned(3)) == [bad]
    release.quarantine(str(other), [bad], "sensor was off")
    kit.ingest(other, kit.table(4))
    retrain.fn(str(other))

    assert learned.version == 4
    assert kit.learners(one) == kit.learners(other)
    assert [id_[:6] for id_ in kit.learners(one)[0]["cursor"]] == ["000001", "000002", "000004"]
    assert kit.learners(one)[0]["weights"] != abandoned[0]["weights"] != before[0]["weights"]


def test_what_was_rolled_back_can_be_learned_again_and_is_the_same_version(
    workspace: Path,
) -> None:
    kit.ingest(workspace, kit.table(2))
    retrain.fn(str(workspace))
    before = kit.learners(workspace)
    rollback.fn(str(workspace), keep_data=True)
    assert kit.learners(workspace) != before
    [again] = retrain.fn(str(workspace)).learned
    assert again.version == 2
    assert kit.learners(workspace) == before
    assert len(kit.registry(workspace).versions()) == 2


def test_a_version_that_is_not_whole_is_not_gone_back_to(workspace: Path) -> None:
    from perdure.errors import Corrupt

    kit.ingest(workspace, kit.table(2))
    retrain.fn(str(workspace))
    before = kit.picture(workspace)
    registry = kit.registry(workspace)
    folder = registry.download(registry.version(1)) / "learner"
    parts = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert len(parts) >= 3
    for part in parts:
        content = part.read_bytes()
        part.chmod(0o644)
        part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(Corrupt, match=part.name):
            rollback.fn(str(workspace))
        part.unlink()
        with pytest.raises(Corrupt, match=part.name):
            rollback.fn(str(workspace))
        part.write_bytes(content)
    assert kit.picture(workspace) == before
    assert rollback.fn(str(workspace)).version == 1
