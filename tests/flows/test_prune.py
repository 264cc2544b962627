"""Prune, from the command to the bytes: what goes, what stays, and what later commands say."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from perdure import config
from perdure.errors import LockHeld, UsageError
from perdure.flows import status
from perdure.flows.backup import backup
from perdure.flows.pin import pin, unpin
from perdure.flows.promote import promote
from perdure.flows.prune import prune
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from perdure.tasks import locks
from tests.promises import kit

GONE = r"version 1 was removed on \d{4}-\d\d-\d\d by prune"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 to 3 and 5 were promoted; 4 was refused, and is a contender no longer."""
    root = kit.make(tmp_path_factory.mktemp("pruned") / "workspace")
    kit.ingest(root, kit.table(2), kit.table(3))
    retrain.fn(str(root))
    kit.configure(root, past="0.2")
    kit.ingest(root, kit.turned(4, 240))
    retrain.fn(str(root))
    kit.configure(root)
    kit.ingest(root, kit.table(5))
    retrain.fn(str(root))
    assert [one.verdict for one in kit.registry(root).versions()] == [
        "passed", "passed", "passed", "refused", "passed",
    ]  # fmt: skip
    return root


def numbers(root: Path) -> list[int]:
    return [one.version for one in kit.registry(root).versions()]


def stored(root: Path) -> int:
    """Bytes of all artifacts."""
    files = (root / ".perdure" / "artifacts" / "learning").rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file())


def test_nothing_is_removed_while_a_backup_copies_it(root: Path) -> None:
    with (
        locks.hold(config.read(root), "versions", "backup"),
        pytest.raises(LockHeld, match="for backup"),
    ):
        prune(str(root), keep=1, keep_days=0, yes=True)
    assert kit.registry(root).removing() == ()


def test_a_life_with_pruning(root: Path, tmp_path: Path) -> None:
    """One story, for a workspace takes long to make."""
    before, held = stored(root), status.status(str(root))["held"]
    assert [one["id"][:6] for one in held] == ["000004"]

    # By default nothing is old enough; and nothing goes without the word.
    assert prune(str(root), yes=True).goes == ()
    shown = prune(str(root), keep=1, keep_days=0)
    assert not shown.removed
    assert {one.version: one.reason for one in shown.stays} == {
        1: "has the alias anchor",
        3: "rollbacks from version 5 reach it",
        5: "has the alias challenger, champion",
    }
    assert [(one.version, one.reason) for one in shown.goes] == [
        (2, "promoted, and not among the newest 1"),
        (4, "refused"),
    ]
    assert numbers(root) == [1, 2, 3, 4, 5]
    assert stored(root) == before

    pin(str(root), 5)  # so the first is the anchor no longer
    done = prune(str(root), keep=1, keep_days=0, yes=True)
    assert done.removed
    assert [one.version for one in done.goes] == [1, 2, 4]
    assert done.left == ()
    assert numbers(root) == [3, 5]
    assert stored(root) == before - done.size
    assert done.size == sum(one.size or 0 for one in done.goes) > before / 2

    for call in (
        lambda: status.show(str(root), 1),
        lambda: promote.fn(str(root), version=1),
        lambda: rollback.fn(str(root), to=1),
        lambda: pin(str(root), 1),
    ):
        with pytest.raises(UsageError, match=GONE):
            call()
    removed = [e for e in status.history(str(root)) if e["action"] == "removed"]
    assert [e["version"] for e in removed] == [1, 2, 4]
    assert removed[2]["reason"] == "by prune: refused"

    # What the refused version had learned stays decided, and nothing is learned again.
    assert status.status(str(root))["held"] == held
    assert retrain.fn(str(root)).learned == ()
    backup(str(root), tmp_path / "backups")

    # Training goes on, with a number of its own.
    kit.ingest(root, kit.table(6))
    assert [one.version for one in retrain.fn(str(root)).learned] == [6]

    # Back as far as it was to reach, and no farther.
    promote.fn(str(root), version=5, force=True, reason="as before")
    assert rollback.fn(str(root), to=3).version == 3
    with pytest.raises(UsageError, match="version 2 was removed on"):
        rollback.fn(str(root))


def test_the_line_of_training_is_known_across_a_gap(root: Path) -> None:
    from perdure.flows.line import line

    registry = kit.registry(root)
    assert line(registry, registry.version(5)) == (5, 3, 2, 1)


def test_after_each_retraining(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the configuration says so; and what goes wrong there is no fault of the retraining."""
    kit.configure(root, more="\n[tracking]\nprune = true\nkeep = 1\nkeep_days = 0\n")
    unpin(str(root))

    def refuse(self: LocalArtifactRepository, path: Any = None) -> None:
        raise PermissionError("no right to delete")

    kit.ingest(root, kit.table(7))
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(LocalArtifactRepository, "delete_artifacts", refuse)
        first = retrain.fn(str(root))
    assert first.learned[0].promoted
    assert "Version 2 is not measured" not in caplog.text, "that it was removed is no news"
    assert "Not all of an old version was removed: version" in caplog.text
    assert kit.registry(root).removing()

    kit.ingest(root, kit.table(8))
    second = retrain.fn(str(root))
    assert second.learned[0].promoted
    assert kit.registry(root).removing() == ()
    champion = kit.registry(root).read().champion
    assert numbers(root)[-2:] == [champion.replaced, champion.version]
