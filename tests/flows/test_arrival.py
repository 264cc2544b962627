"""What an arriving experience moves: a contender that proves right, a champion taken back."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perdure.errors import GateRefused, LockHeld, UsageError
from perdure.flows import arrival, release, status
from perdure.flows.evaluate import evaluate
from perdure.flows.pin import pin, unpin
from perdure.flows.promote import promote
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from perdure.records import Learned
from tests.promises import kit

FEW = 6
"""Rows that show nothing, however the models differ on them."""
SETTINGS: dict[str, str] = {"past": "0.02", "strategies": '[{ name = "replay", size = 20 }]'}


def configure(root: Path, **more: str) -> None:
    """A gate on the past; and files of few rows are let in.

    No bins: a model that has learned labels turned round for two epochs is to be one that has half
    unlearned the world, which `past` refuses, and not one that names one class for everything.
    """
    kit.configure(root, **SETTINGS, **more)
    path = root / "perdure.toml"
    task = 'task = "classification"\n'
    text = path.read_text().replace(task, f"{task}min_rows = {FEW}\n")
    assert 'name = "small"\n' in text
    path.write_text(text.replace('name = "small"\n', 'name = "small"\nbins = 0\n'))


def rows(number: int, count: int = 160, *, turned: bool = False, broken: bool = False) -> str:
    """A world that stands still: the sum of two numbers decides. Or the labels turned round."""
    rng = np.random.default_rng(number)
    a, b = rng.normal(0, 2, count), rng.normal(0, 2, count)
    colour = rng.choice(["red", "green"], count)
    kind = np.where((a + b > 0) != turned, "yes", "no")
    if broken:
        a = np.full(count, -999.0)
    lines = [f"{a[i]:.4f},{b[i]:.4f},{colour[i]},{kind[i]}" for i in range(count)]
    return "\n".join(["a,b,colour,kind", *lines]) + "\n"


@dataclasses.dataclass
class World:
    """A workspace, and what arrives in it."""

    root: Path
    ids: dict[int, str]

    def arrive(self, number: int, *args: Any, **more: Any) -> str:
        [self.ids[number]] = kit.ingest(self.root, rows(number, *args, **more))
        return self.ids[number]

    def retrain(self) -> list[Learned]:
        return list(retrain.fn(str(self.root)).learned)

    def learn(self, number: int, *args: Any, **more: Any) -> list[Learned]:
        self.arrive(number, *args, **more)
        return self.retrain()

    def status(self) -> dict[str, Any]:
        return status.status(str(self.root))

    def entrants(self) -> list[tuple[int, str, int]]:
        """Who takes part: the version, its role, and the rows of its evidence."""
        return [(e["version"], e["role"], e["rows"]) for e in self.status()["tournament"]]

    def history(self) -> list[tuple[str, int | None, str | None]]:
        return [(e["action"], e["version"], e["reason"]) for e in status.history(str(self.root))]

    def aliases(self) -> dict[str, int]:
        """As MLflow has them."""
        registry = kit.registry(self.root)
        model = registry.client.call("get_registered_model", registry.name)
        return {alias: int(number) for alias, number in model.aliases.items()}

    def cursor(self, alias: str = "challenger") -> list[int]:
        """Numbers of what a version has learned."""
        version = getattr(kit.registry(self.root).read(), alias)
        return [int(id_[:6]) for id_ in version.cursor]

    def held(self) -> list[int]:
        return sorted(int(one["id"][:6]) for one in self.status()["held"])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Champion 2, [e1 e2]; what follows is refused where it harms the past."""
    from perdure.flows.initialise import initialise

    root = tmp_path_factory.mktemp("template") / "workspace"
    first = root.parent / "first.csv"
    first.write_text(rows(1, 240), encoding="utf-8")
    initialise(root, first, "kind", name=kit.MODEL)
    configure(root)
    kit.ingest(root, rows(2))
    assert [one.promoted for one in retrain.fn(str(root)).learned] == [True, True]
    return root


@pytest.fixture
def world(template: Path, tmp_path: Path) -> World:
    shutil.copytree(template, tmp_path / "workspace", symlinks=True)
    return World(tmp_path / "workspace", {})


@pytest.fixture(scope="module")
def spoiled_template(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with labels turned round in e3, and version 3, refused for them, serving."""
    root = tmp_path_factory.mktemp("spoiled") / "workspace"
    shutil.copytree(template, root, symlinks=True)
    world = World(root, {})
    [learned] = world.learn(3, turned=True)
    assert learned.verdict == "refused"
    assert world.aliases() == {"champion": 2, "challenger": 2, "anchor": 1, "contender": 3}
    promote.fn(str(root), version=3, force=True, reason="I know better")
    assert world.aliases() == {"champion": 3, "challenger": 3, "anchor": 1}
    assert world.held() == []
    return root


@pytest.fixture
def spoiled(spoiled_template: Path, tmp_path: Path) -> World:
    shutil.copytree(spoiled_template, tmp_path / "spoiled", symlinks=True)
    return World(tmp_path / "spoiled", {})


def test_a_changed_world_proves_a_refused_version_right(world: World) -> None:
    [refused] = world.learn(3, turned=True)
    assert refused.verdict == "refused"
    assert "past" in refused.reasons[0]
    assert world.held() == [3]
    assert world.aliases()["contender"] == 3
    [before] = [e for e in world.status()["tournament"] if e["role"] == "contender"]
    assert (before["experience"][:6], before["evidence"], before["left"]) == ("000003", 1.0, 5)

    # The champion's own line learns a little more, which shows nothing yet.
    [little] = world.learn(4, FEW)
    assert little.promoted
    assert (3, "contender", FEW) in world.entrants()
    assert world.aliases()["champion"] == 4

    postponed, again, fifth = world.learn(5, turned=True)
    assert postponed.verdict == "postponed"
    assert postponed.arrival is not None
    assert (postponed.arrival.action, postponed.arrival.version) == ("promoted", 3)
    # It went on from there: first what only the other line had learned, then what had shown it.
    assert (again.experience, fifth.experience) == (world.ids[4], world.ids[5])
    assert world.cursor()[:4] == world.cursor("champion")[:4] == [1, 2, 3, 4]
    assert fifth.version is not None
    registry = kit.registry(world.root)
    assert registry.version(again.version).parent == 3
    assert 3 not in world.held()
    assert (3, "contender") not in [one[:2] for one in world.entrants()]
    [[_, _, reason]] = [one for one in world.history() if one[:2] == ("promoted", 3)]
    assert reason is not None
    assert reason.startswith("contender shown to be better on 166 rows of 2 experiences")
    assert registry.version(3).replaced == 4
    # It was champion once: a person may go back to it, though a gate refused it.
    assert rollback.fn(str(world.root), to=3).version == 3


def test_a_spoiled_champion_is_taken_back_and_what_it_learned_stays_held(spoiled: World) -> None:
    postponed, fourth = spoiled.learn(4)
    assert postponed.arrival is not None
    assert (postponed.arrival.action, postponed.arrival.version) == ("rolled back", 2)
    assert fourth.promoted
    assert spoiled.cursor() == spoiled.cursor("champion") == [1, 2, 4]
    assert spoiled.held() == [3]
    aliases = spoiled.aliases()
    assert (aliases["champion"], aliases["contender"]) == (fourth.version, 3)
    [[_, _, reason]] = [one for one in spoiled.history() if one[:2] == ("rolled back", 2)]
    assert reason is not None
    assert reason.startswith("the predecessor is better on 160 rows of 1 experience: loss lower")
    [held] = spoiled.status()["held"]
    assert "rolled back from 3: the predecessor is better" in held["reasons"][0]

    # The abandoned version is tried on what comes, and let go; a person may release what it knew.
    [fifth] = spoiled.learn(5)
    assert fifth.promoted
    assert "contender" not in spoiled.aliases()
    assert spoiled.held() == [3]
    [[_, _, why]] = [one for one in spoiled.history() if one[:2] == ("let go", 3)]
    assert why is not None
    assert why.startswith("shown to be worse on 160 rows of 1 experience")


@pytest.mark.parametrize(
    "more", ["rollback = false\n", pytest.param("", id="manual")], ids=["switched off", "manual"]
)
def test_where_a_person_decides_nothing_is_taken_back(spoiled: World, more: str) -> None:
    mode = "automatic" if more else "manual"
    configure(spoiled.root, mode=mode, more=more)
    [fourth] = spoiled.learn(4)
    assert fourth.arrival is not None
    assert fourth.arrival.action == "none"
    assert fourth.version is not None
    assert kit.registry(spoiled.root).version(fourth.version).parent == 3
    assert not [one for one in spoiled.history() if one[0] == "rolled back"]
    # The anchor's evidence is there to be looked at.
    [anchor] = [e for e in spoiled.status()["tournament"] if e["role"] == "anchor"]
    assert anchor["evidence"] > anchor["needed"] == pytest.approx(20)


def test_a_spoiled_contender_is_let_go_and_its_experience_stays_held(world: World) -> None:
    world.learn(3, turned=True)
    [fourth] = world.learn(4)
    assert fourth.promoted
    assert fourth.arrival is not None
    assert fourth.arrival.let_go == (3,)
    assert "contender" not in world.aliases()
    assert world.held() == [3]
    assert world.cursor() == [1, 2, 4]


def test_a_rollback_ends_the_evidence(world: World) -> None:
    world.learn(3, turned=True)
    world.learn(4, FEW)
    assert (3, "contender", FEW) in world.entrants()
    assert rollback.fn(str(world.root)).version == 2
    assert world.entrants() == [(1, "anchor", 0), (3, "contender", 0)]
    assert world.held() == [3, 4]
    # What was abandoned gives way to what a person wants, and so does who goes on from it.
    rollback.fn(str(world.root), to=1)
    assert world.entrants() == []
    assert {a: n for a, n in world.aliases().items() if a != "anchor"} == {
        "champion": 1,
        "challenger": 1,
    }
    assert [one[:2] for one in world.history() if one[0] == "let go"] == [("let go", 3)]


def test_with_manual_promotion_a_person_approves_the_contender(world: World) -> None:
    configure(world.root, mode="manual")
    world.learn(3, turned=True)
    moved, fourth = world.learn(4, turned=True)
    assert moved.arrival is not None
    assert (moved.arrival.action, moved.arrival.version) == ("promoted", 3)
    assert fourth.version is not None
    assert kit.registry(world.root).version(fourth.version).parent == 3
    aliases = world.aliases()
    assert (aliases["champion"], aliases["challenger"]) == (2, 3)
    [[_, _, reason]] = [one for one in world.history() if one[:2] == ("moved", 3)]
    assert reason is not None
    assert reason.startswith("contender shown to be better")
    # Training goes on from version 3: to approve it is no longer to overrule a gate.
    done = promote.fn(str(world.root), reason="the world has changed")
    assert (done.version, done.replaced, done.forced) == (3, 2, False)
    assert world.aliases()["champion"] == world.aliases()["challenger"] == 3
    # The gates had compared the fourth with version 3, too, when version 2 still served.
    stored = kit.registry(world.root).evaluation(kit.registry(world.root).version(fourth.version))
    again = evaluate.fn(str(world.root), version=fourth.version)
    assert again.champion == 3
    assert again.champion_metrics is not None
    assert stored["champion"]["average"] == again.champion_metrics.average
    assert world.history()[-1] == ("promoted", 3, "the world has changed")


def test_a_contender_is_not_promoted_by_hand_without_force(world: World) -> None:
    world.learn(3, turned=True)
    with pytest.raises(GateRefused):
        promote.fn(str(world.root), version=3)


def test_a_pinned_version_wins_back(spoiled: World) -> None:
    assert pin(str(spoiled.root), 1, "what the contract was signed for").changed
    assert not pin(str(spoiled.root), 1).changed
    # One more promotion, so that the champion's predecessor is no better than the champion.
    [fourth] = spoiled.learn(4, FEW, turned=True)
    assert spoiled.aliases()["champion"] == fourth.version
    back, fifth = spoiled.learn(5)
    assert back.arrival is not None
    assert (back.arrival.action, back.arrival.version) == ("rolled back", 1)
    assert fifth.promoted
    assert spoiled.cursor() == [1, 5]
    assert spoiled.held() == [2, 3, 4]
    assert spoiled.aliases() == {
        "champion": fifth.version,
        "challenger": fifth.version,
        "anchor": 1,
        "contender": fourth.version,
    }
    actions = [one[:2] for one in spoiled.history()]
    assert ("pinned", 1) in actions
    assert unpin(str(spoiled.root)).version == 1
    assert "anchor" not in spoiled.aliases()
    assert spoiled.history()[-1][:2] == ("unpinned", 1)
    with pytest.raises(UsageError, match="no version is pinned"):
        unpin(str(spoiled.root))


def test_the_line_of_training_follows_the_parent(world: World) -> None:
    """Version 3 has learned the same as version 2, and does not go on from it."""
    rollback.fn(str(world.root), to=1, keep_data=True)
    text = (world.root / "perdure.toml").read_text().replace("epochs = 2", "epochs = 3")
    (world.root / "perdure.toml").write_text(text)
    [third] = world.retrain()
    assert (third.version, world.cursor()) == (3, [1, 2])
    assert kit.registry(world.root).version(3).parent == 1
    promote.fn(str(world.root), version=2)
    assert (world.aliases()["champion"], world.aliases()["challenger"]) == (2, 2)
    # Its own ancestor would leave the challenger where it is.
    promote.fn(str(world.root), version=1)
    assert (world.aliases()["champion"], world.aliases()["challenger"]) == (1, 2)


def test_what_is_broken_is_held_before_it_is_learned(world: World) -> None:
    world.learn(3, turned=True)
    before = world.entrants()
    [broken] = world.learn(4, broken=True)
    assert (broken.verdict, broken.version) == ("refused", None)
    assert broken.arrival is not None
    assert broken.arrival.action == "held"
    assert world.held() == [3, 4]
    reason = world.status()["held"][1]["reasons"][0]
    assert reason.startswith("broken: `a`: all 160 values are -999")
    # It is no measure of anyone; it was measured all the same, and is not again.
    assert [(v, rows) for v, _, rows in world.entrants()][: len(before)] == [
        (v, rows) for v, _, rows in before
    ]
    assert kit.registry(world.root).read().tournament.measured == 4
    actions = [one[0] for one in world.history()]
    assert "drifted" in actions
    release.release(str(world.root), [world.ids[4]], "the sensor does that")
    [learned] = world.retrain()
    assert learned.experience == world.ids[4]
    assert learned.version is not None
    assert not any("broken" in reason for reason in learned.reasons)


@pytest.mark.parametrize("more", ["false_alarms = false", 'broken = "learn"'])
def test_where_that_is_switched_off_it_is_learned(world: World, more: str) -> None:
    configure(world.root, more=f"\n[drift]\n{more}\n")
    [learned] = world.learn(3, broken=True)
    assert learned.version == 3
    assert learned.arrival is not None
    assert learned.arrival.action == "none"
    assert kit.registry(world.root).read().tournament.measured == 3


def test_an_experience_gives_evidence_once(world: World) -> None:
    """Released, it is learned, and measures nobody a second time."""
    world.learn(3, turned=True)
    world.learn(4, FEW)
    [before] = [one for one in world.entrants() if one[1] == "contender"]
    rollback.fn(str(world.root), to=2, keep_data=True)
    [again] = world.retrain()
    assert again.experience == world.ids[4]
    assert before == (3, "contender", FEW)
    assert [one for one in world.entrants() if one[1] == "contender"] == [(3, "contender", 0)]


def test_of_two_machines_one_writes_the_evidence(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share MLflow alone. While one measures, the other one measures and holds the same."""
    world.learn(3, turned=True)
    world.arrive(4, broken=True)
    other = tmp_path / "other"
    shutil.copytree(world.root, other, symlinks=True)
    database = world.root / ".perdure" / "mlflow.db"
    configure(other, more=f'\n[tracking]\nuri = "sqlite:///{database}"\n')
    arrive = arrival.arrive
    found: list[Learned] = []

    def meanwhile(*arguments: Any) -> Any:
        shown = arrive(*arguments)
        monkeypatch.setattr(arrival, "arrive", arrive)
        found.extend(retrain.fn(str(other)).learned)
        return shown

    monkeypatch.setattr(arrival, "arrive", meanwhile)
    with pytest.raises(LockHeld, match="wrote evidence to the model small meanwhile"):
        world.retrain()
    [one] = found
    assert one.arrival is not None
    assert one.arrival.action == "held"
    count = len(world.history())
    assert world.retrain() == []
    assert len(world.history()) == count
    held = [event for event in world.history() if event[0] == "held"]
    assert len(held) == 2  # of the third and of the fourth, once each
    assert world.held() == [3, 4]
    # What comes next is evidence again.
    world.arrive(5, turned=True)
    postponed, *_ = world.retrain()
    assert postponed.arrival is not None
    assert (postponed.arrival.action, postponed.arrival.version) == ("promoted", 3)
