"""Git, through its command line: a repository, and commits of just our own files.

Commits are made with `--no-verify`, without hooks and unsigned: they record data that has
been accepted already, often unattended. A formatter's hook, or one that asks
for a passphrase, must not stop them halfway or change what they record.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from perdure.errors import UsageError
from perdure.tasks.git.command import NO_REPOSITORY, fault, git, run

_NOBODY = ("user.name=perdure", "user.email=perdure@localhost")


def version() -> str:
    """What `git --version` says."""
    return git(Path.cwd(), "--version").stdout.strip()


def ensure_repository(root: Path) -> bool:
    """Make a repository in the folder, unless it lies in one already that does not ignore it.

    Returns:
        Whether one was made.

    Raises:
        Fault: git is not installed, or refuses.
    """
    if top(root) is not None and not _ignored(root):
        return False
    git(root, "init", "--quiet", "--initial-branch=main")
    return True


def _ignored(root: Path) -> bool:
    """Whether the repository around a folder ignores it; never so for a repository's own top."""
    if top(root) == root.resolve():
        return False
    # check-ignore refuses --literal-pathspecs; status asks the same rules.
    done = run(
        root.parent,
        "status",
        "--porcelain",
        "--ignored",
        "--untracked-files=normal",
        "--",
        str(root),
    )
    return done.stdout.startswith("!!")


def top(root: Path) -> Path | None:
    """The top folder of the repository that a folder lies in; None: it lies in none."""
    done = run(root, "rev-parse", "--show-toplevel")
    if done.returncode == 0:
        return Path(done.stdout.rstrip("\n"))
    if NO_REPOSITORY in done.stderr:
        return None
    raise fault(("rev-parse",), done)


def commit(root: Path, paths: Sequence[Path | str], message: str) -> str | None:
    """Commit the present state of just these paths, whatever else is staged or changed.

    Where git has no user name or address yet, `perdure` and `perdure@localhost` stand in.

    Args:
        root: The folder to work in.
        paths: Relative to `root`, or absolute; files or folders, also deleted ones.
        message: Of the commit.

    Returns:
        The new commit; None: nothing to commit.

    Raises:
        UsageError: `root` lies in no repository.
        Fault: git refuses, or another git process holds the index for more than 3 s.
    """
    if top(root) is None:
        raise UsageError(f"{root} lies in no git repository", hint=f"git init {root}")
    known = [path for path in map(str, paths) if _is_known(root, path)]
    if not known:
        return None
    git(root, "add", "--all", "--", *known)
    if not _changed(root, known):
        return None
    git(
        root, "commit", "--quiet", "--no-verify", "--only", "--cleanup=whitespace",
        "--message", message, "--", *known,
        settings=(*identity(root), "commit.gpgSign=false", f"core.hooksPath={os.devnull}"),
    )  # fmt: skip
    return head(root)


def head(root: Path) -> str | None:
    """The present commit, 40 hex digits; None: no commit yet, or no repository.

    Raises:
        Fault: git refuses, as a repository that belongs to another user.
    """
    done = run(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if done.returncode in (0, 1):
        return done.stdout.strip() or None
    if NO_REPOSITORY in done.stderr:
        return None
    raise fault(("rev-parse",), done)


def last_commit_of(root: Path, path: Path | str) -> str | None:
    """The commit that last changed a path; None: none has, or no repository."""
    if head(root) is None:
        return None
    return git(root, "log", "-1", "--format=%H", "--", str(path)).stdout.strip() or None


def at(root: Path, revision: str, path: Path) -> str | None:
    """What a text file below the folder was at a revision; None: it was not there."""
    done = run(root, "show", f"{revision}:./{os.path.relpath(path, root)}")
    return done.stdout if done.returncode == 0 else None


def first_version(root: Path, path: Path) -> str | None:
    """What a text file was when it was first committed; None: it never was."""
    if head(root) is None:
        return None
    commits = git(root, "log", "--diff-filter=A", "--format=%H", "--", str(path)).stdout.split()
    return at(root, commits[-1], path) if commits else None


def diff(root: Path, path: Path) -> str:
    """How a file differs from what was last committed, as `git diff` shows it."""
    return git(root, "diff", "--no-ext-diff", "--no-color", "HEAD", "--", str(path)).stdout


def restore(root: Path, path: Path) -> None:
    """Make a file what it is at the present commit; remove it where it is not there.

    Raises:
        Fault: git refuses.
    """
    if at(root, "HEAD", path) is not None:
        git(root, "checkout", "--quiet", "HEAD", "--", str(path))
        return
    git(root, "rm", "--quiet", "--cached", "--ignore-unmatch", "--", str(path))
    path.unlink(missing_ok=True)


def _is_known(root: Path, path: str) -> bool:
    if os.path.lexists(root / path):
        return True
    return bool(git(root, "ls-files", "--", path).stdout)  # deleted, but still tracked


def _changed(root: Path, paths: Sequence[str]) -> bool:
    if head(root) is None:
        return bool(git(root, "ls-files", "--", *paths).stdout)
    done = run(root, "diff", "--cached", "--quiet", "HEAD", "--", *paths)
    if done.returncode not in (0, 1):
        raise fault(("diff",), done)
    return done.returncode == 1


def identity(root: Path) -> tuple[str, ...]:
    """Settings that stand in for the name and the address where git has none."""
    configured = {"user.name", "user.email"} - _unset_identity(root)
    return tuple(s for s in _NOBODY if s.partition("=")[0] not in configured)


def _unset_identity(root: Path) -> set[str]:
    lacking = set()
    for key, variables in (
        ("user.name", ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME")),
        ("user.email", ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL")),
    ):
        configured = run(root, "config", "--get", key).stdout.strip()
        if not configured and not all(os.environ.get(name) for name in variables):
            lacking.add(key)
    return lacking
