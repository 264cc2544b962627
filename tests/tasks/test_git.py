"""Git: our commits hold our files alone, whatever the user's repository is like."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from perdure.errors import Fault, UsageError
from perdure.tasks import git
from perdure.tasks.git import abandoned, bundles, command


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, on a machine where git knows nobody."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / "none"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{name}_NAME", raising=False)
        monkeypatch.delenv(f"GIT_{name}_EMAIL", raising=False)
    monkeypatch.delenv("EMAIL", raising=False)
    folder = tmp_path / "ws"
    folder.mkdir()
    return folder


def run(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", root, *arguments], check=True, capture_output=True)
    return done.stdout.decode().strip()


def changed(root: Path) -> list[str]:
    return run(root, "show", "--format=", "--name-only", "HEAD").splitlines()


def test_a_repository_is_made_once_and_only_where_there_is_none(root: Path) -> None:
    assert git.top(root) is None
    assert git.ensure_repository(root) is True
    assert git.ensure_repository(root) is False
    below = root / "sub" / "ws"
    below.mkdir(parents=True)
    assert git.ensure_repository(below) is False
    assert not (below / ".git").exists()
    assert git.top(below) == root.resolve()


def test_a_commit_where_git_knows_nobody(root: Path) -> None:
    git.ensure_repository(root)
    assert git.head(root) is None
    (root / "a").write_text("1")
    made = git.commit(root, ["a"], "feat: a\n\n# not a comment")
    assert made == git.head(root) == run(root, "rev-parse", "HEAD")
    assert run(root, "log", "-1", "--format=%an <%ae>") == "perdure <perdure@localhost>"
    assert "# not a comment" in run(root, "log", "-1", "--format=%B")


def test_the_users_own_name_is_used(root: Path) -> None:
    git.ensure_repository(root)
    run(root, "config", "user.name", "Ada")
    (root / "a").write_text("1")
    git.commit(root, ["a"], "a")
    assert run(root, "log", "-1", "--format=%an <%ae>") == "Ada <perdure@localhost>"


def test_only_the_paths_are_committed(root: Path) -> None:
    git.ensure_repository(root)
    for name in ("ours", "staged", "changed", "gone"):
        (root / name).write_text("1")
    git.commit(root, ["ours", "staged", "changed", "gone"], "first")
    for name in ("ours", "staged", "changed", "new"):
        (root / name).write_text("2")
    (root / "gone").unlink()
    run(root, "add", "staged", "new")
    assert git.commit(root, ["ours", "gone", "never there"], "second") is not None
    assert changed(root) == ["gone", "ours"]
    assert run(root, "diff", "--cached", "--name-only").splitlines() == ["new", "staged"]
    assert run(root, "status", "--porcelain", "--", "ours") == ""


def test_nothing_to_commit_is_fine(root: Path) -> None:
    git.ensure_repository(root)
    assert git.commit(root, ["a"], "nothing") is None
    (root / "a").write_text("1")
    first = git.commit(root, ["a"], "first")
    (root / "b").write_text("1")
    run(root, "add", "b")
    assert git.commit(root, ["a"], "again") is None
    assert git.head(root) == first
    assert git.commit(root, [], "no paths") is None


def test_a_workspace_below_the_top(root: Path) -> None:
    git.ensure_repository(root)
    below = root / "sub"
    below.mkdir()
    (root / "a").write_text("1")
    (below / "a").write_text("2")
    first = git.commit(below, ["a"], "below")
    assert changed(root) == ["sub/a"]
    (below / "b").write_text("1")
    git.commit(below, [below / "b"], "an absolute path")
    assert git.last_commit_of(below, "a") == first
    assert git.last_commit_of(below, "b") == git.head(root)
    assert git.last_commit_of(below, "c") is None


def test_odd_names_are_names(root: Path) -> None:
    git.ensure_repository(root)
    odd = ["*", ":(top)x", "a b", "-n", "ü", "q\"'\n"]
    for name in [*odd, "other"]:
        (root / name).write_text("1")
    git.commit(root, odd, "odd")
    assert len(run(root, "ls-files", "-z").strip("\0").split("\0")) == len(odd)
    assert "other" not in changed(root)


def test_the_environment_of_a_hook_does_not_mislead(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git.ensure_repository(other)
    (other / "a").write_text("1")
    before = git.commit(other, ["a"], "other")
    for name, value in {
        "GIT_DIR": other / ".git",
        "GIT_WORK_TREE": other,
        "GIT_INDEX_FILE": other / ".git" / "index",
        "GIT_PREFIX": "x/",
    }.items():
        monkeypatch.setenv(name, str(value))
    assert git.ensure_repository(root) is True
    (root / "b").write_text("1")
    assert git.commit(root, ["b"], "ours") == git.head(root) != before
    assert git.head(other) == before


def test_hooks_signing_and_editors_are_not_asked(root: Path) -> None:
    git.ensure_repository(root)
    for hook in ("pre-commit", "commit-msg", "prepare-commit-msg", "post-commit"):
        path = root / ".git" / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch {root}/ran\nexit 1\n")
        path.chmod(0o755)
    run(root, "config", "commit.gpgSign", "true")
    run(root, "config", "core.editor", "false")
    (root / "a").write_text("1")
    assert git.commit(root, ["a"], "a") is not None
    assert not (root / "ran").exists()


def test_a_held_index_is_waited_for_then_reported_and_not_removed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git.ensure_repository(root)
    (root / "a").write_text("1")
    lock = root / ".git" / "index.lock"
    lock.touch()
    pauses: list[float] = []
    # Of this module alone: other threads of this process sleep as well.
    monkeypatch.setattr(command, "time", SimpleNamespace(sleep=pauses.append))
    with pytest.raises(Fault, match=r"index\.lock") as error:
        git.commit(root, ["a"], "a")
    assert error.value.hint is not None
    assert pauses == list(git.LOCK_RETRIES_S)
    assert lock.exists()
    freed = SimpleNamespace(sleep=lambda _: lock.unlink(missing_ok=True))
    monkeypatch.setattr(command, "time", freed)
    assert git.commit(root, ["a"], "a") is not None


def _locked(root: Path, age_s: float) -> Path:
    """A repository with something to commit, and a lock file of that age."""
    git.ensure_repository(root)
    (root / "a").write_text("1")
    lock = root / ".git" / "index.lock"
    lock.touch()
    then = time.time() - age_s
    os.utime(lock, (then, then))
    return lock


def test_a_lock_file_that_a_killed_git_left_is_removed(root: Path) -> None:
    lock = _locked(root, age_s=60.0)
    assert git.commit(root, ["a"], "a") is not None
    assert not lock.exists()


def test_the_lock_file_of_a_git_that_lives_stays(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "LOCK_RETRIES_S", ())
    monkeypatch.setattr(abandoned, "STALE_S", 0.0)
    waits = ["git", "-C", str(root), "hash-object", "--stdin"]
    with subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL):
        lock = _locked(root, age_s=0.0)
        with pytest.raises(Fault, match=r"index\.lock"):
            git.commit(root, ["a"], "a")
        assert lock.exists()
    assert git.commit(root, ["a"], "a") is not None  # the control: it has ended


def test_no_repository_and_no_git(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "a").write_text("1")
    assert git.head(root) is None
    assert git.last_commit_of(root, "a") is None
    with pytest.raises(UsageError, match="no git repository"):
        git.commit(root, ["a"], "a")
    monkeypatch.setenv("PATH", str(root))
    with pytest.raises(Fault, match="not installed"):
        git.head(root)


def test_what_git_refuses_is_told(root: Path) -> None:
    git.ensure_repository(root)
    (root / ".gitignore").write_text("a\n")
    (root / "a").write_text("1")
    with pytest.raises(Fault, match="ignored"):
        git.commit(root, ["a"], "a")


def test_a_repository_of_somebody_else_is_no_empty_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a volume that belongs to root, in a container that does not run as root."""
    git.ensure_repository(root)
    assert git.head(root) is None
    assert git.last_commit_of(root, "a") is None
    (root / "a").write_text("1")
    assert git.commit(root, ["a"], "first") == git.last_commit_of(root, "a")
    run(root, "remote", "add", "origin", "https://example.org/x.git")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for its tests
    for ask in (
        lambda: git.head(root),
        lambda: git.last_commit_of(root, "a"),
        lambda: git.branch(root, "origin"),
        lambda: bundles.on_branch(root),
    ):
        with pytest.raises(Fault, match="dubious ownership"):
            ask()
