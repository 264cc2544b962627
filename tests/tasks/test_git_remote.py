"""A git remote: what it refuses, what it does not answer, and what stays the user's own."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from perdure.errors import Fault, Unreachable, UsageError
from perdure.tasks import git
from perdure.tasks.git import command, remote


def run(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@localhost")
    done = subprocess.run(
        ["git", "-C", root, *identity, *arguments], check=True, capture_output=True
    )
    return done.stdout.decode().strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with one commit, published."""
    run(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "bare.git")
    run(tmp_path, "clone", "--quiet", "bare.git", "clone")
    root = tmp_path / "clone"
    run(root, "switch", "--quiet", "--orphan", "main")
    (root / "data.dvc").write_text("1")
    (root / "mine").write_text("1")
    run(root, "add", ".")
    run(root, "commit", "--quiet", "-m", "first")
    run(root, "push", "--quiet", "--set-upstream", "origin", "main")
    return root


def publish(root: Path, text: str) -> bool:
    """Publish a new `data.dvc`, as the flows do."""
    branch = git.branch(root, "origin")
    theirs = git.theirs(root, branch)
    assert theirs is not None
    (root / "data.dvc").write_text(text)
    commit = git.proposed(root, theirs, [root / "data.dvc"], f"data {text}")
    assert commit is not None
    return git.push(root, branch, commit, [root / "data.dvc"])


def test_a_commit_of_data_holds_nothing_else(clone: Path) -> None:
    (clone / "mine").write_text("changed")
    (clone / "staged").write_text("staged")
    run(clone, "add", "staged")
    before = git.head(clone)
    assert publish(clone, "2")
    assert run(clone, "show", "--format=", "--name-only", "HEAD") == "data.dvc"
    assert run(clone, "rev-parse", "HEAD~1") == before
    assert run(clone, "status", "--porcelain").splitlines() == ["M mine", "A  staged"]
    assert run(clone.parent / "bare.git", "rev-parse", "main") == git.head(clone)
    assert git.relation(clone, "origin/main") == (0, 0)


def test_nothing_new_is_no_commit(clone: Path) -> None:
    theirs = git.theirs(clone, git.branch(clone, "origin"))
    assert theirs is not None
    assert git.proposed(clone, theirs, [clone / "data.dvc"], "x") is None


def test_who_is_not_first_is_told_and_nothing_moves(clone: Path) -> None:
    run(clone.parent, "clone", "--quiet", "bare.git", "other")
    other = clone.parent / "other"
    assert publish(other, "theirs")
    before = git.head(clone)
    assert publish(clone, "ours") is False
    assert git.head(clone) == before
    branch = git.branch(clone, "origin")
    theirs = git.fetch(clone, branch)
    assert theirs == git.head(other)
    assert theirs is not None
    assert git.relation(clone, theirs) == (0, 1)
    git.restore(clone, clone / "data.dvc")
    git.fast_forward(clone, theirs)
    assert (clone / "data.dvc").read_text() == "theirs"


def test_a_changed_file_is_not_overwritten(clone: Path) -> None:
    run(clone.parent, "clone", "--quiet", "bare.git", "other")
    assert publish(clone.parent / "other", "theirs")
    (clone / "data.dvc").write_text("mine")
    theirs = git.fetch(clone, git.branch(clone, "origin"))
    assert theirs is not None
    with pytest.raises(UsageError, match=r"others have changed .*data\.dvc"):
        git.fast_forward(clone, theirs)
    assert (clone / "data.dvc").read_text() == "mine"


def test_a_file_that_a_commit_has_not_is_removed(clone: Path) -> None:
    (clone / "new").write_text("x")
    run(clone, "add", "new")
    git.restore(clone, clone / "new")
    assert not (clone / "new").exists()
    assert run(clone, "status", "--porcelain") == ""
    assert git.at(clone, "HEAD", clone / "new") is None
    assert git.at(clone, "HEAD", clone / "mine") == "1"


def test_which_branch(clone: Path, tmp_path: Path) -> None:
    assert git.branch(clone, "origin").ref == "refs/heads/main"
    run(clone, "switch", "--quiet", "-c", "local", "--track", "origin/main")
    assert git.branch(clone, "origin") == git.Branch("origin", "local", "refs/heads/main")
    with pytest.raises(UsageError, match="no such remote") as error:
        git.branch(clone, "upstream")
    assert error.value.hint == "git remote add upstream URL"
    run(clone, "switch", "--quiet", "--no-track", "-c", "new")
    assert git.fetch(clone, git.branch(clone, "origin")) is None
    run(clone, "switch", "--quiet", "--detach")
    with pytest.raises(UsageError, match="on no branch"):
        git.branch(clone, "origin")


def test_a_remote_that_refuses_says_why(clone: Path) -> None:
    hook = clone.parent / "bare.git" / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    before = git.head(clone)
    with pytest.raises(Fault, match="hook declined") as error:
        publish(clone, "2")
    assert not isinstance(error.value, Unreachable)
    assert git.head(clone) == before


def test_a_remote_that_hangs_does_not_hang_us(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection, and says nothing."""
    monkeypatch.setattr(remote, "REMOTE_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        run(clone, "remote", "set-url", "origin", f"git://127.0.0.1:{server.getsockname()[1]}/x")
        branch = git.branch(clone, "origin")
        with pytest.raises(Unreachable, match="no end after 1 s"):
            git.fetch(clone, branch)
        with pytest.raises(Unreachable, match="does not answer"):
            publish(clone, "2")
    with pytest.raises(Unreachable, match="unable to connect"):
        git.fetch(clone, branch)


def test_git_that_is_asked_to_end_leaves_no_lock(clone: Path) -> None:
    """Ctrl-C while git holds its index: the lock file must not stay for the next one."""
    run(clone, "config", "filter.slow.clean", f"touch {clone.parent}/begun; sleep 60; cat")
    (clone / ".gitattributes").write_text("*.slow filter=slow\n")
    (clone / "x.slow").write_text("x")
    begun = clone.parent / "begun"
    raised: list[BaseException] = []

    class Interrupt(Exception):
        pass

    def interrupted() -> None:
        process = subprocess.Popen.communicate

        def communicate(self: subprocess.Popen[str], **_: object) -> tuple[str, str]:
            deadline = time.monotonic() + 30
            while not begun.exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            raise Interrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subprocess.Popen, "communicate", communicate)
            try:
                command.run(clone, "add", "x.slow")
            except Interrupt as error:
                raised.append(error)
        assert process is subprocess.Popen.communicate

    thread = threading.Thread(target=interrupted)
    thread.start()
    thread.join(60)
    assert raised
    assert not (clone / ".git" / "index.lock").exists()
