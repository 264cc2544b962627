"""Several clones of one workspace, with shared remotes, are one workspace."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perdure.errors import Fault, Unreachable, UsageError
from perdure.flows import sharing
from perdure.flows.ingest import ingest
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from perdure.tasks import data_versions, experiences, git
from tests.promises import kit
from tests.service.clones import Clones, files_of, numbers, once_updated, only_grows
from tests.tasks.server_kit import Server

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Clones:
    return Clones(tmp_path_factory.mktemp("made") / "shared")


@pytest.fixture
def both(made: Clones, tmp_path: Path) -> Clones:
    return made.copy(tmp_path / "shared")


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def test_what_one_ingests_the_other_sees(both: Clones) -> None:
    assert (
        both.ingest("b", 2).files[0].experience
        == both.ws("b")
        .experiences.joinpath(sorted(path.name for path in both.ws("b").experiences.iterdir())[1])
        .stem
    )
    assert both.ingest("a", 3).files[0].experience.startswith("000003-")  # type: ignore[union-attr]  # it is one
    ingest.fn(str(both.root("b")))
    for name in ("a", "b"):
        assert both.sources(name) == ["a-first.csv", "2.csv", "3.csv"]
        assert both.left(name) == []
    assert files_of(both.ws("a")) == files_of(both.ws("b"))
    assert both.head("a") == both.head("b")
    history = both.published()
    assert len(history) > 3
    assert only_grows(history)


def test_who_is_not_first_comes_after(both: Clones, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have looked, then both publish: one file is new to both, and is one experience."""
    ingest.fn(str(both.root("b")))
    both.arrive("b", 3, 4)
    kit.arrive(both.root("b"), "bad.csv", kit.partly(6))
    once_updated(monkeypatch, lambda: both.ingest("a", 2, 3))
    result = {one.file: one for one in ingest.fn(str(both.root("b"))).files}
    assert result["3.csv"].outcome == "known"
    assert result["4.csv"].outcome == "ingested"
    ids = [one.id for one in experiences.committed(both.ws("b"))]
    assert [result[name].experience for name in ("3.csv", "4.csv", "bad.csv")] == ids[2:]
    assert both.sources("b") == ["a-first.csv", "2.csv", "3.csv", "4.csv", "bad.csv"]
    assert numbers(both.published()[-1]) == [1, 2, 3, 4, 5]
    assert only_grows(both.published())
    assert both.left("b") == []
    assert len(experiences.list_quarantined(both.ws("b"))) == 1
    ingest.fn(str(both.root("a")))
    assert files_of(both.ws("a")) == files_of(both.ws("b"))


def test_without_the_compare_and_swap_experiences_are_lost(
    both: Clones, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of what `only_grows` sees."""
    ingest.fn(str(both.root("b")))
    push = git.push

    def by_force(root: Path, branch: git.Branch, commit: str, paths: Any) -> bool:
        kit.git(root, "push", "--quiet", "--force", "origin", f"{commit}:{branch.ref}")
        return push(root, branch, commit, paths)

    both.arrive("b", 4)
    once_updated(monkeypatch, lambda: both.ingest("a", 2))
    with monkeypatch.context() as patch:
        patch.setattr(git, "push", by_force)
        ingest.fn(str(both.root("b")))
    assert "2.csv" not in both.sources("b")


def test_many_processes_at_once(both: Clones) -> None:
    """Real processes in three clones, as fast as they can: each content is one experience."""
    both.clone("c")
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.service.clones import Clones\n"
        "both = Clones(Path(sys.argv[1]))\n"
        "for number in map(int, sys.argv[3:]):\n"
        "    both.ingest(sys.argv[2], number)\n"
    )
    work = {"a": "2 3 4", "b": "3 5 6", "c": "7 2 5"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(both.folder), name, *files.split()],
            cwd=REPOSITORY,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, files in work.items()
    ]
    for process in running:
        result = process.communicate(timeout=200)[1]
        assert process.returncode == 0, result[-3000:]
    history = both.published()
    assert numbers(history[-1]) == list(range(1, 8))
    assert only_grows(history)
    for name in work:
        ingest.fn(str(both.root(name)))
        assert sorted(both.sources(name)) == [f"{n}.csv" for n in range(2, 8)] + ["a-first.csv"]
        assert both.left(name) == []
        assert both.head(name) == both.head("a")


@pytest.mark.timeout(400)
def test_killed_anywhere_and_done_again(tmp_path: Path) -> None:
    """`b` is not the first, and is killed: what then stands is what nobody's kill leaves."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.service.killed_clones", str(tmp_path), "10"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / "result.json").read_bytes())
    assert result["done"] == {
        "sources": [
            "0-small.csv",
            "1-small.csv",
            "2.csv",
            "3.csv",
            "4.csv",
            "5.csv",
            "a-first.csv",
            "bad.csv",
            "few-1.csv",
            "few-2.csv",
            "few-3.csv",
            "small-1.csv",
        ],
        "rows": [120 + 8 * 60 - 1 + 12 + 2 * 20] * 2,
        "numbers": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        "theirs first": [
            ["a-first.csv"],
            ["few-1.csv"],
            ["small-1.csv", "1-small.csv"],
            ["2.csv"],
            ["3.csv"],
            ["few-2.csv"],
        ],
        "rows of the new class": 18,
        "each once": 18,
        "grows": True,
        "same": True,
        "quarantined": 2,
        "left": [],
        "inbox": [".gitkeep"],
        "published": True,
    }
    assert sum("/aside" in name for name in result["names"]) >= 3, "nothing stepped aside"
    assert sum(all(case["killed"]) for case in result["cases"]) >= 8
    harm = {case["name"]: case["differences"] for case in result["cases"] if case["differences"]}
    assert harm == {}


def test_commits_of_the_users_are_neither_published_nor_lost(both: Clones) -> None:
    root = both.root("b")
    ingest.fn(str(root))
    (root / "notes.txt").write_text("mine")
    append(root / "perdure.toml", "\n# mine, not committed\n")
    kit.git(root, "add", "notes.txt")
    kit.git(root, "commit", "--quiet", "-m", "docs: mine", "--", "notes.txt")
    mine, before = both.head("b"), both.published()
    both.arrive("b", 2)
    with pytest.raises(UsageError, match="has 1 commit that origin has not") as error:
        ingest.fn(str(root))
    assert error.value.hint == "git push origin main"
    assert both.head("b") == mine
    assert both.published() == before
    assert (root / "inbox" / "2.csv").exists()
    sharing.update(both.ws("b"))  # what only reads need not care

    both.ingest("a", 3)
    with pytest.raises(UsageError, match="which has 1 others") as error:
        sharing.update(both.ws("b"))
    assert both.head("b") == mine
    kit.git(root, "stash", "--quiet")
    kit.git(root, "pull", "--quiet", "--rebase", "origin", "main")
    kit.git(root, "stash", "pop", "--quiet")
    kit.git(root, "push", "--quiet", "origin", "main")
    assert ingest.fn(str(root)).files[0].outcome == "ingested"
    assert both.sources("b") == ["a-first.csv", "3.csv", "2.csv"]
    assert "# mine, not committed" in (root / "perdure.toml").read_text()
    assert both.left("b") == [" M perdure.toml"]
    assert only_grows(both.published())


def test_a_changed_file_in_the_way_is_told_and_kept(both: Clones) -> None:
    ingest.fn(str(both.root("b")))
    kit.configure(both.root("a"), strategies=kit.REPLAY, more='\n[shared]\ngit_remote = "origin"\n')
    kit.git(both.root("a"), "push", "--quiet")
    append(both.root("b") / "perdure.toml", "\n# mine\n")
    with pytest.raises(UsageError, match=r"others have changed .*perdure\.toml") as error:
        ingest.fn(str(both.root("b")))
    assert "git stash" in str(error.value.hint)
    assert "# mine" in (both.root("b") / "perdure.toml").read_text()


def test_a_pointer_that_somebody_changed_by_hand_is_kept(both: Clones) -> None:
    ingest.fn(str(both.root("b")))
    kit.arrive(both.root("b"), "x.csv", "x")
    (both.ws("b").data / "notes").write_text("by hand")
    data_versions.add_and_push(both.ws("b"))
    (both.root("b") / "inbox" / "x.csv").unlink()
    both.ingest("a", 2)
    with pytest.raises(UsageError, match=r"data\.dvc has changed and is not committed"):
        ingest.fn(str(both.root("b")))
    assert (both.ws("b").data / "notes").exists()


def test_after_a_git_pull_by_hand_the_data_follows(both: Clones) -> None:
    ingest.fn(str(both.root("b")))
    both.ingest("a", 2)
    kit.git(both.root("b"), "pull", "--quiet")
    assert both.sources("b") == ["a-first.csv"]
    sharing.update(both.ws("b"))
    assert both.sources("b") == ["a-first.csv", "2.csv"]
    assert both.left("b") == []


def test_a_recorded_file_that_somebody_spoilt_is_told(both: Clones) -> None:
    ingest.fn(str(both.root("b")))
    [first] = both.ws("b").experiences.iterdir()
    first.chmod(0o644)
    first.write_bytes(b"spoilt")
    both.ingest("a", 2)
    with pytest.raises(Fault, match="not what was recorded") as error:
        sharing.update(both.ws("b"))
    assert "dvc checkout --force" in str(error.value.hint)
    first.unlink()
    sharing.update(both.ws("b"))
    assert both.sources("b") == ["a-first.csv", "2.csv"]


def test_files_of_others_in_the_folder_stay(both: Clones) -> None:
    """What nobody has recorded, in a clone that follows: it is not ours to remove."""
    ingest.fn(str(both.root("b")))
    ws = both.ws("b")
    # The dotted ones as a file manager leaves them, wherever somebody has looked.
    own = [ws.data / "notes" / "one.txt", ws.experiences / ".DS_Store", ws.quarantine / ".DS_Store"]
    for path in own:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    both.ingest("a", 2)
    sharing.update(ws)
    assert both.sources("b") == ["a-first.csv", "2.csv"]
    assert [path.read_text() for path in own] == ["mine"] * 3


def test_where_the_remotes_are_gone_nothing_is_lost(
    both: Clones, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest.fn(str(both.root("b")))
    both.arrive("b", 2)
    away = both.bare.rename(both.bare.with_name("away"))
    with pytest.raises(Unreachable, match="the git remote origin does not answer"):
        ingest.fn(str(both.root("b")))
    assert (both.root("b") / "inbox" / "2.csv").exists()
    away.rename(both.bare)

    # It goes away between the look and the push: the data is recorded, and nobody learns it yet.
    with monkeypatch.context() as patch:
        once_updated(patch, lambda: both.bare.rename(away))
        with pytest.raises(Unreachable):
            ingest.fn(str(both.root("b")))
    assert both.sources("b") == ["a-first.csv"]
    assert experiences.unfinished(both.ws("b"))
    away.rename(both.bare)
    assert ingest.fn(str(both.root("b"))).files[0].outcome == "known"
    assert both.sources("b") == ["a-first.csv", "2.csv"]
    assert both.left("b") == []

    # And DVC's remote: no pointer to data that is not there.
    both.arrive("b", 3)
    gone = both.storage.rename(both.storage.with_name("gone"))
    before = kit.git(both.bare, "rev-parse", "main")
    with pytest.raises(Unreachable, match="DVC remote"):
        ingest.fn(str(both.root("b")))
    assert kit.git(both.bare, "rev-parse", "main") == before
    gone.rename(both.storage)
    ingest.fn(str(both.root("b")))
    assert both.sources("a") == ["a-first.csv"]
    sharing.update(both.ws("a"))
    assert both.sources("a") == ["a-first.csv", "2.csv", "3.csv"]


def test_a_remote_that_refuses_is_a_fault(both: Clones) -> None:
    """As one does that protects its branches."""
    hook = both.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho main is protected >&2\nexit 1\n")
    hook.chmod(0o755)
    both.arrive("b", 2)
    with pytest.raises(Fault, match="refuses a commit of data") as error:
        ingest.fn(str(both.root("b")))
    assert "push to main" in str(error.value.hint)
    hook.unlink()
    ingest.fn(str(both.root("b")))
    assert both.sources("b") == ["a-first.csv", "2.csv"]


def test_a_remote_that_refuses_like_a_race_is_not_taken_for_one(both: Clones) -> None:
    """As where a git that was killed there left its lock."""
    lock = both.bare / "refs" / "heads" / "main.lock"
    lock.touch()
    both.arrive("b", 2)
    with pytest.raises(Fault, match="5 times in a row, but none was") as error:
        ingest.fn(str(both.root("b")))
    assert "refs/heads/main.lock" in str(error.value.hint)
    lock.unlink()
    assert ingest.fn(str(both.root("b"))).files[0].outcome == "known"
    assert both.sources("b") == ["a-first.csv", "2.csv"]
    assert both.left("b") == []


def test_what_a_user_has_changed_beside_the_data_is_not_published(both: Clones) -> None:
    """Such as where this machine has its cache, or a password that does not belong there."""
    ingest.fn(str(both.root("b")))
    append(both.root("b") / ".dvc" / "config", '[cache]\n    type = "copy"\n')
    append(both.root("b") / ".gitignore", "# mine\n")
    both.ingest("b", 2)
    changed = kit.git(both.bare, "show", "--format=", "--name-only", "main").split()
    assert changed == ["data.dvc"]
    assert both.left("b") == [" M .dvc/config", " M .gitignore"]
    both.ingest("a", 3)
    both.ingest("b", 4)
    assert both.sources("b") == ["a-first.csv", "2.csv", "3.csv", "4.csv"]
    assert both.left("b") == [" M .dvc/config", " M .gitignore"]


def test_without_a_remote_in_the_configuration_nothing_is_shared(both: Clones) -> None:
    kit.configure(both.root("b"))
    kit.git(both.root("b"), "push", "--quiet")
    before = kit.git(both.bare, "rev-parse", "main")
    both.ingest("b", 2)
    assert both.sources("b") == ["a-first.csv", "2.csv"]
    assert kit.git(both.bare, "rev-parse", "main") == before


def test_a_workspace_from_before_anybody_noted_where_it_is(both: Clones) -> None:
    ingest.fn(str(both.root("b")))
    both.ingest("a", 2)
    (both.ws("b").state / "data-revision").unlink()
    assert both.ingest("b", 3).files[0].outcome == "ingested"
    assert both.sources("b") == ["a-first.csv", "2.csv", "3.csv"]
    assert both.left("b") == []


def test_two_models_in_one_repository(tmp_path: Path) -> None:
    """Below the top, a neighbour's unfinished work is left alone."""
    both = Clones(tmp_path / "shared", below="models/small")
    ingest.fn(str(both.root("b")))
    other = both.folder / "b" / "models" / "other"
    other.mkdir()
    (other / "data.dvc").write_text("a neighbour's, not committed")
    both.ingest("a", 2)
    both.ingest("b", 3)
    assert both.sources("b") == ["small-first.csv", "2.csv", "3.csv"]
    assert only_grows(both.published())
    assert both.left("b") == []
    assert (other / "data.dvc").read_text() == "a neighbour's, not committed"
    assert kit.git(other, "status", "--porcelain", ".").startswith("??")


@pytest.mark.timeout(300)
def test_what_one_ingests_the_other_learns(tmp_path: Path) -> None:
    """One registry on an MLflow server; nothing else of either machine's disk."""
    (tmp_path / "mlflow").mkdir()
    server = Server(tmp_path / "mlflow")
    try:
        server.wait()
        both = Clones(tmp_path / "shared", uri=server.uri)
        both.ingest("a", 2)
        learned = retrain.fn(str(both.root("b")))
        assert [one.experience[:6] for one in learned.learned] == ["000001", "000002"]
        assert retrain.fn(str(both.root("a"))).learned == ()
        (both.folder / "b").rename(both.folder / "gone")
        assert rollback.fn(str(both.root("a"))).version == 1
        champion = kit.registry(both.root("a")).read().champion
        assert champion is not None
        assert champion.version == 1
        assert champion.data.git in kit.git(both.bare, "rev-list", "main").split()
    finally:
        server.stop()
