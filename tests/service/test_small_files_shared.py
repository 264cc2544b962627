"""Files that wait for more rows, in several clones of one workspace: each row is there once."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.flows.ingest import ingest
from perdure.records import Ingested
from perdure.tasks import experiences
from perdure.tasks.tables.content import content_sha256
from tests.promises import kit
from tests.service.clones import Clones, files_of, once_updated, only_grows


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Clones:
    found = Clones(tmp_path_factory.mktemp("made") / "shared")
    ingest.fn(str(found.root("b")))
    return found


@pytest.fixture
def both(made: Clones, tmp_path: Path) -> Clones:
    return made.copy(tmp_path / "shared")


def bring(both: Clones, clone: str, name: str, text: str) -> Ingested:
    kit.arrive(both.root(clone), name, text)
    return ingest.fn(str(both.root(clone))).files[0]


def state(both: Clones, clone: str) -> tuple[list[list[tuple[str, int]]], list[tuple[str, int]]]:
    """The files of each experience but the first, and those that wait."""
    ws = both.ws(clone)
    known = experiences.list_experiences(ws)
    return (
        [[(f.name, f.rows) for f in one.files] for one in known[1:]],
        [(one.file.name, one.file.rows) for one in experiences.waiting_files(ws, known)],
    )


def rows(both: Clones, clone: str) -> list[str]:
    """All that is there, and that waits."""
    ws = both.ws(clone)
    known = experiences.list_experiences(ws)
    frames = [experiences.read_experience(ws, one.id, content_sha256) for one in known]
    waiting = experiences.waiting_files(ws, known)
    frames += [experiences.read_waiting(one, content_sha256) for one in waiting]
    return [str(row) for frame in frames for row in frame.itertuples(index=False)]


def same(both: Clones) -> None:
    """After a look both clones have the same, each row once, and nothing is left behind."""
    for clone in ("a", "b"):
        ingest.fn(str(both.root(clone)))
    assert files_of(both.ws("a")) == files_of(both.ws("b"))
    assert both.left("a") == both.left("b") == []
    found = rows(both, "a")
    assert len(found) == len(set(found))
    assert only_grows(both.published())


def test_what_waits_in_one_joins_in_the_other(both: Clones, tmp_path: Path) -> None:
    assert bring(both, "a", "1.csv", kit.table(2, 12)).outcome == "waiting"
    one = bring(both, "b", "2.csv", kit.table(3, 20))
    assert (one.outcome, one.rows) == ("ingested", 32)
    assert bring(both, "a", "1-again.csv", kit.table(2, 12)).outcome == "known"
    assert state(both, "a") == ([[("1.csv", 12), ("2.csv", 20)]], [])
    same(both)
    # The same order on one machine gives the same experience.
    alone = kit.make(tmp_path / "alone")
    kit.arrive(alone, "1.csv", kit.table(2, 12))
    kit.arrive(alone, "2.csv", kit.table(3, 20))
    assert ingest.fn(str(alone)).files[1].experience == one.experience


def test_two_that_join_the_same_rows_at_once(both: Clones, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not first has too few rows left: its file waits again."""
    bring(both, "a", "1.csv", kit.table(2, 12))
    ingest.fn(str(both.root("b")))
    once_updated(monkeypatch, lambda: bring(both, "a", "2.csv", kit.table(3, 20)))
    one = bring(both, "b", "3.csv", kit.table(4, 20))
    assert (one.outcome, one.experience, one.rows, one.files) == ("waiting", None, 20, ())
    assert one.notes[-1] == "20 rows wait; the others are in an experience of another clone"
    assert state(both, "b") == ([[("1.csv", 12), ("2.csv", 20)]], [("3.csv", 20)])
    same(both)
    assert bring(both, "a", "3-again.csv", kit.table(4, 20)).outcome == "known"
    assert bring(both, "a", "4.csv", kit.table(5, 12)).rows == 32


def test_a_large_file_loses_what_another_clone_joined_first(
    both: Clones, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(both, "a", "1.csv", kit.table(2, 12))
    ingest.fn(str(both.root("b")))
    once_updated(monkeypatch, lambda: bring(both, "a", "2.csv", kit.table(3, 20)))
    one = bring(both, "b", "3.csv", kit.table(4))
    assert (one.outcome, one.experience) == (
        "ingested", experiences.list_experiences(both.ws("b"))[2].id,
    )  # fmt: skip
    assert state(both, "b") == ([[("1.csv", 12), ("2.csv", 20)], [("3.csv", 60)]], [])
    same(both)


def test_two_that_let_a_file_wait_at_once(both: Clones, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together they are enough: who sees both makes the experience."""
    once_updated(monkeypatch, lambda: bring(both, "a", "1.csv", kit.table(2, 20)))
    kit.arrive(both.root("b"), "2.csv", kit.table(3, 12))
    first, second = ingest.fn(str(both.root("b"))).files
    assert (first.file, first.outcome) == ("2.csv", "waiting")
    assert (second.outcome, second.rows) == ("ingested", 32)
    assert state(both, "b") == ([[("1.csv", 20), ("2.csv", 12)]], [])
    same(both)


def test_the_same_file_in_both_at_once_waits_once(
    both: Clones, monkeypatch: pytest.MonkeyPatch
) -> None:
    once_updated(monkeypatch, lambda: bring(both, "a", "1.csv", kit.table(2, 20)))
    bring(both, "b", "other name.csv", kit.table(2, 20))
    assert state(both, "b") == ([], [("1.csv", 20)])
    same(both)


def test_a_file_that_waits_here_is_in_an_experience_there(
    both: Clones, monkeypatch: pytest.MonkeyPatch
) -> None:
    def there() -> None:
        bring(both, "a", "0.csv", kit.table(3, 20))
        bring(both, "a", "1.csv", kit.table(2, 12))

    once_updated(monkeypatch, there)
    bring(both, "b", "1.csv", kit.table(2, 12))
    assert state(both, "b") == ([[("0.csv", 20), ("1.csv", 12)]], [])
    same(both)
