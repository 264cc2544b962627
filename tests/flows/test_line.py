"""Aliases that a person moves in MLflow: a decision, recorded from the next command on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from perdure.errors import LockHeld
from perdure.flows import decisions, status
from perdure.flows.promote import promote
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from perdure.records import Change
from perdure.tasks.registry import codec
from perdure.tasks.registry.changes import Changes
from tests.promises import kit


class World:
    """A workspace, and MLflow's own client beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.registry = kit.registry(root)

    def call(self, name: str, *arguments: Any) -> Any:
        return self.registry.client.call(name, kit.MODEL, *arguments)

    def move(self, alias: str, version: int) -> None:
        self.call("set_registered_model_alias", alias, str(version))

    def remove(self, alias: str) -> None:
        self.call("delete_registered_model_alias", alias)

    def aliases(self) -> dict[str, int]:
        found = self.call("get_registered_model").aliases
        return {alias: int(number) for alias, number in found.items()}

    def serving(self) -> tuple[int | None, int | None]:
        found = self.aliases()
        return found.get("champion"), found.get("challenger")

    def status(self) -> dict[str, Any]:
        return status.status(str(self.root))

    def events(self) -> list[tuple[str, int | None, int | None, str | None, str | None]]:
        return [
            (e["action"], e["version"], e["replaced"], e["reason"], e["by"])
            for e in status.history(str(self.root))
        ]

    def held(self) -> list[int]:
        return sorted(int(one["id"][:6]) for one in self.status()["held"])

    def pending(self) -> list[int]:
        return [int(id_[:6]) for id_ in self.status()["pending"]]

    def retrain(self) -> list[Any]:
        return list(retrain.fn(str(self.root)).learned)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 to 3, each the champion for a while; and 4, of another line, [e1 e2]."""
    root = kit.make(tmp_path_factory.mktemp("line") / "workspace")
    kit.ingest(root, kit.table(2), kit.table(3))
    retrain.fn(str(root))
    rollback.fn(str(root), to=1, keep_data=True)
    before = (root / "perdure.toml").read_text()
    (root / "perdure.toml").write_text(before.replace("epochs = 2", "epochs = 1"))
    [*_, fifth] = retrain.fn(str(root)).learned
    assert fifth.version == 5
    (root / "perdure.toml").write_text(before)
    promote.fn(str(root), version=3)
    found = {v.version: v.parent for v in kit.registry(root).versions()}
    assert found == {1: None, 2: 1, 3: 2, 4: 1, 5: 4}
    return root


@pytest.fixture
def world(template: Path, tmp_path: Path) -> World:
    shutil.copytree(template, tmp_path / "workspace", symlinks=True)
    found = World(tmp_path / "workspace")
    assert found.serving() == (3, 3)
    assert (found.held(), found.pending()) == ([], [])
    return found


MOVED = ("moved in MLflow", "MLflow")


def test_the_champion_on_an_older_version_is_a_rollback(world: World) -> None:
    before = world.status()["champion"]["promoted_at"]
    began = datetime.now(UTC).isoformat(timespec="microseconds")
    world.move("champion", 1)
    status = world.status()
    assert status["champion"]["version"] == status["challenger"]["version"] == 1
    assert before <= began <= status["champion"]["promoted_at"]
    assert status["moved_in_mlflow"] == []
    assert world.serving() == (1, 1)
    assert world.held() == [2, 3]
    assert ("rolled back", 1, 3, *MOVED) in world.events()
    # Once: nothing more is recorded by the commands that follow, and nothing is learned again.
    count = len(world.events())
    assert world.retrain() == []
    assert len(world.events()) == count
    # Training goes on from there.
    kit.ingest(world.root, kit.table(4))
    [learned] = world.retrain()
    assert world.registry.version(learned.version).parent == 1


def test_the_champion_on_another_line_is_a_promotion(world: World) -> None:
    world.move("champion", 4)
    world.status()
    assert world.serving() == (4, 4)
    assert world.registry.version(4).replaced == 3
    assert ("promoted", 4, 3, *MOVED) in world.events()
    # What only the other line had learned is pending, as after `perdure promote`.
    assert (world.held(), world.pending()) == ([], [3])
    assert rollback.fn(str(world.root)).version == 3


def test_the_champion_on_the_challenger_is_an_approval(world: World) -> None:
    kit.configure(world.root, mode="manual")
    kit.ingest(world.root, kit.table(4))
    [learned] = world.retrain()
    number = learned.version
    assert world.serving() == (3, number)
    world.move("champion", number)
    # The first command that notices it may be one that changes something.
    assert world.retrain() == []
    assert world.serving() == (number, number)
    assert ("promoted", number, 3, *MOVED) in world.events()
    assert (world.held(), world.pending()) == ([], [])


def test_a_champion_that_was_removed_and_a_challenger_that_was_moved(world: World) -> None:
    world.remove("champion")
    status = world.status()
    assert (status["champion"], status["challenger"]["version"]) == (None, 3)
    moved = ("moved", None, 3, "the alias champion was removed in MLflow", "MLflow")
    assert moved in world.events()
    promote.fn(str(world.root), version=3)
    assert world.serving() == (3, 3)
    world.move("challenger", 2)
    status = world.status()
    assert (status["champion"]["version"], status["challenger"]["version"]) == (3, 2)
    reason = "the alias challenger was moved in MLflow"
    assert ("moved", 2, 3, reason, "MLflow") in world.events()
    # The champion has learned it, so it is learned again, from there: the same version.
    assert (world.held(), world.pending()) == ([], [3])
    world.move("challenger", 5)
    assert world.status()["challenger"]["version"] == 5
    assert world.serving() == (3, 5)
    assert (world.held(), world.pending()) == ([], [])


def test_an_anchor_that_is_set_is_a_pin_and_one_that_is_removed_is_none(world: World) -> None:
    world.move("anchor", 2)
    [anchor] = [e for e in world.status()["tournament"] if e["role"] == "anchor"]
    assert (anchor["version"], anchor["pinned"]) == (2, True)
    reason = "the alias anchor was set in MLflow"
    assert ("pinned", 2, None, reason, "MLflow") in world.events()
    # Together with the champion: both are recorded.
    world.move("anchor", 1)
    world.move("champion", 2)
    status = world.status()
    assert status["champion"]["version"] == 2
    assert world.aliases()["anchor"] == 1
    assert world.held() == [3]
    world.remove("anchor")
    assert not [e for e in world.status()["tournament"] if e["role"] == "anchor"]
    assert world.events()[-1][:2] == ("unpinned", 1)


def test_a_version_that_was_deleted_in_mlflow_stops_nothing(world: World) -> None:
    """The anchor; MLflow takes its alias with it."""
    [anchor] = [e["version"] for e in world.status()["tournament"] if e["role"] == "anchor"]
    assert anchor == world.aliases()["anchor"] == 4
    world.call("delete_model_version", "4")
    assert "anchor" not in world.aliases()
    kit.ingest(world.root, kit.table(4))
    [learned] = world.retrain()
    assert learned.promoted
    assert rollback.fn(str(world.root)).version == 3


def test_nothing_is_promoted_over_a_move_that_was_not_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person moves the champion while a retraining is at work."""
    apply = Changes.apply

    def after_a_move(self: Changes, change: Change) -> None:
        if change.aliases.get("champion"):
            world.move("champion", 1)
        apply(self, change)

    kit.ingest(world.root, kit.table(4))
    with monkeypatch.context() as patch:
        patch.setattr(Changes, "apply", after_a_move)
        with pytest.raises(LockHeld, match="champion is now v1, not v3"):
            world.retrain()
    assert world.serving()[0] == 1
    [learned] = world.retrain()
    assert ("rolled back", 1, 3, *MOVED) in world.events()
    assert world.held() == [2, 3]
    assert world.registry.version(learned.version).parent == 1
    assert world.serving() == (learned.version, learned.version)


def _cut_short(*_arguments: object) -> None:
    raise KeyboardInterrupt


def test_a_change_that_was_cut_short_does_not_undo_what_a_person_moved(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Changes, "_move", _cut_short)  # the intent is written down, and no more
        with pytest.raises(KeyboardInterrupt):
            promote.fn(str(world.root), version=5)
    world.move("champion", 1)
    status = world.status()  # only looks; the change is still under way
    assert status["champion"]["version"] == 1
    kit.ingest(world.root, kit.table(4))
    [learned] = world.retrain()
    # The promotion's other half was finished; then the move was taken as what it is.
    assert ("rolled back", 1, 3, *MOVED) in world.events()
    assert world.registry.version(learned.version).parent == 1


@pytest.mark.parametrize("alias", ["champion", "anchor"])
def test_what_the_next_command_cannot_record_yet_is_shown_all_the_same(
    world: World, alias: str
) -> None:
    """Another command holds the model's lock."""
    from perdure import config
    from perdure.tasks import locks

    world.move(alias, 2)
    with locks.hold(config.read(world.root), "model", "a test"):
        status = world.status()
        assert status["champion"]["version"] == (2 if alias == "champion" else 3)
        assert status["moved_in_mlflow"] == (["champion"] if alias == "champion" else [])
    world.status()
    assert world.events()[-1][4] == "MLflow" or world.held() == [3]
    assert world.status()["moved_in_mlflow"] == []


def forget(world: World) -> None:
    """Leave the registry as the version before this one wrote it."""
    for alias in ("anchor", "contender", "contender-2"):
        world.remove(alias)
    tags = dict(world.call("get_registered_model").tags)
    for name in [*codec.names(codec.TOURNAMENT, tags), codec.RECORDED]:
        world.call("delete_registered_model_tag", name)


def learned(world: World) -> None:
    kit.ingest(world.root, kit.table(4))
    [one] = world.retrain()
    assert one.promoted
    assert world.registry.version(one.version).parent == 3


def taken_back(world: World) -> None:
    rollback.fn(str(world.root), to=2)
    assert world.serving() == (2, 2)


@pytest.mark.parametrize("go_on", [learned, taken_back])
def test_a_workspace_of_the_version_before_goes_on(
    world: World, go_on: Callable[[World], None]
) -> None:
    forget(world)
    count = len(world.events())
    status = world.status()
    assert (status["champion"]["version"], status["tournament"]) == (3, [])
    assert len(world.events()) == count
    go_on(world)
    now = world.registry.read()
    assert now.recorded == decisions.expected(now)
    world.move("champion", 1)
    assert world.status()["champion"]["version"] == 1
    assert world.serving() == (1, 1)
