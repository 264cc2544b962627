"""Setting experiences aside on a machine that has not seen yet what another one ingested."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.errors import LockHeld, Unreachable, UsageError
from perdure.flows import release
from perdure.flows.ingest import ingest
from perdure.tasks import locks
from tests.promises import kit
from tests.service.clones import Clones


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Clones:
    return Clones(tmp_path_factory.mktemp("made") / "shared")


@pytest.fixture
def both(made: Clones, tmp_path: Path) -> Clones:
    return made.copy(tmp_path / "shared")


def held(both: Clones) -> list[str]:
    return sorted(kit.registry(both.root("b")).read().held)


def test_what_another_machine_has_published_can_be_set_aside(both: Clones) -> None:
    new = str(both.ingest("a", 2).files[0].experience)
    assert both.sources("b") == []  # a fresh clone: it has nothing yet
    assert release.quarantine(str(both.root("b")), [new], "the sensor was off").experiences == (
        new,
    )
    assert held(both) == [new]
    assert both.sources("b") == ["a-first.csv", "2.csv"]
    with pytest.raises(UsageError, match="no such experience: 000009-aaaaaaaa"):
        release.quarantine(str(both.root("b")), ["000009-aaaaaaaa", new], "x")
    assert release.release(str(both.root("b")), [new]).experiences == (new,)


def test_what_is_here_can_be_set_aside_while_the_remotes_are_away(both: Clones) -> None:
    here = str(both.ingest("b", 2).files[0].experience)
    elsewhere = str(both.ingest("a", 3).files[0].experience)
    away = both.bare.rename(both.bare.with_name("away"))
    assert release.quarantine(str(both.root("b")), [here], "the sensor was off").experiences == (
        here,
    )
    with pytest.raises(Unreachable, match="the git remote origin does not answer"):
        release.quarantine(str(both.root("b")), [here, elsewhere], "x")
    assert held(both) == [here]
    away.rename(both.bare)
    release.quarantine(str(both.root("b")), [elsewhere], "x")
    assert held(both) == sorted([here, elsewhere])


def test_what_is_being_added_may_get_another_number_and_is_not_set_aside(
    both: Clones, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ingest of this machine was cut short before it could publish."""
    ingest.fn(str(both.root("b")))
    away = both.bare.with_name("away")
    both.arrive("b", 4)
    with monkeypatch.context() as patch:
        from perdure.flows import sharing

        publish = sharing.publish

        def cut(*args: object) -> object:
            both.bare.rename(away)
            return publish(*args)  # type: ignore[arg-type]  # whatever it was given

        patch.setattr(sharing, "publish", cut)
        with pytest.raises(Unreachable):
            ingest.fn(str(both.root("b")))
    away.rename(both.bare)
    [adding] = [path.stem for path in both.ws("b").experiences.glob("000002-*")]
    theirs = str(both.ingest("a", 3).files[0].experience)
    assert theirs.startswith("000002-")
    with pytest.raises(UsageError, match=f"no such experience: {adding}"):
        release.quarantine(str(both.root("b")), [adding], "x")
    assert both.sources("b") == ["a-first.csv", "3.csv", "4.csv"]  # it was finished
    assert held(both) == []


def test_while_an_ingest_is_at_work_it_is_told(
    both: Clones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.flows.ingest.WAIT_FOR_DATA_S", 0.1)
    with (
        locks.hold(both.ws("b"), "data", "ingest"),
        pytest.raises(LockHeld, match="an ingest is at work, and may bring 000002-aaaaaaaa"),
    ):
        release.quarantine(str(both.root("b")), ["000002-aaaaaaaa"], "x")
