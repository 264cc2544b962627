"""Git, through its command line: a repository, and commits of just our own files.

Commits are made with `--no-verify`, without hooks and unsigned: they record data that has
been accepted already, often with nobody at the keyboard. A formatter's hook, or one that asks
for a passphrase, must not stop them halfway or change what they record.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from perdure.errors import Fault, UsageError

LOCK_RETRIES_S = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Pauses between tries while another git holds `index.lock`; about 3 s together."""
_MISLEADING = (
    # `git rev-parse --local-env-vars`: set inside hooks, and then about another repository.
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT", "GIT_OBJECT_DIRECTORY", "GIT_DIR", "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE", "GIT_INDEX_FILE", "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE", "GIT_PREFIX", "GIT_SHALLOW_FILE", "GIT_COMMON_DIR",
    "GIT_INTERNAL_SUPER_PREFIX", "GIT_NAMESPACE", "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS",
)  # fmt: skip
_NOBODY = ("user.name=perdure", "user.email=perdure@localhost")


def version() -> str:
    """What `git --version` says."""
    return _git(Path.cwd(), "--version").stdout.strip()


def ensure_repository(root: Path) -> bool:
    """Make a repository in the folder, unless it lies in one already that does not ignore it.

    Returns:
        Whether one was made.

    Raises:
        Fault: git is not installed, or refuses.
    """
    if top(root) is not None and not _ignored(root):
        return False
    _git(root, "init", "--quiet", "--initial-branch=main")
    return True


def _ignored(root: Path) -> bool:
    """Whether the repository around a folder ignores it; never so for a repository's own top."""
    if top(root) == root.resolve():
        return False
    # check-ignore refuses --literal-pathspecs; status asks the same rules.
    done = _run(
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
    done = _run(root, "rev-parse", "--show-toplevel")
    if done.returncode == 0:
        return Path(done.stdout.rstrip("\n"))
    if "not a git repository" in done.stderr:
        return None
    raise _fault(("rev-parse",), done)


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
    _git(root, "add", "--all", "--", *known)
    if not _changed(root, known):
        return None
    configured = {"user.name", "user.email"} - _unset_identity(root)
    identity = [s for s in _NOBODY if s.partition("=")[0] not in configured]
    _git(
        root, "commit", "--quiet", "--no-verify", "--only", "--cleanup=whitespace",
        "--message", message, "--", *known,
        settings=(*identity, "commit.gpgSign=false", f"core.hooksPath={os.devnull}"),
    )  # fmt: skip
    return head(root)


def head(root: Path) -> str | None:
    """The present commit, 40 hex digits; None: no commit yet, or no repository."""
    done = _run(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    return done.stdout.strip() or None if done.returncode == 0 else None


def last_commit_of(root: Path, path: Path | str) -> str | None:
    """The commit that last changed a path; None: none has, or no repository."""
    done = _run(root, "log", "-1", "--format=%H", "--", str(path))
    return done.stdout.strip() or None if done.returncode == 0 else None


def is_dirty(root: Path, paths: Sequence[Path | str] = (".",)) -> bool:
    """Whether files below the folder differ from the present commit, untracked ones included."""
    return bool(_git(root, "status", "--porcelain", "--", *map(str, paths)).stdout.strip())


def _is_known(root: Path, path: str) -> bool:
    if os.path.lexists(root / path):
        return True
    return bool(_git(root, "ls-files", "--", path).stdout)  # deleted, but still tracked


def _changed(root: Path, paths: Sequence[str]) -> bool:
    if head(root) is None:
        return bool(_git(root, "ls-files", "--", *paths).stdout)
    done = _run(root, "diff", "--cached", "--quiet", "HEAD", "--", *paths)
    if done.returncode not in (0, 1):
        raise _fault(("diff",), done)
    return done.returncode == 1


def _unset_identity(root: Path) -> set[str]:
    lacking = set()
    for key, variables in (
        ("user.name", ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME")),
        ("user.email", ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL")),
    ):
        configured = _run(root, "config", "--get", key).stdout.strip()
        if not configured and not all(os.environ.get(name) for name in variables):
            lacking.add(key)
    return lacking


def _git(
    root: Path, *arguments: str, settings: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    for pause in (*LOCK_RETRIES_S, None):
        done = _run(root, *arguments, settings=settings)
        if done.returncode == 0:
            return done
        if pause is None or ".lock': File exists" not in done.stderr:
            break
        time.sleep(pause)
    raise _fault(arguments, done)


def _fault(arguments: Sequence[str], done: subprocess.CompletedProcess[str]) -> Fault:
    said = " ".join(line.strip() for line in done.stderr.strip().splitlines()[:3])
    hint = None
    if ".lock': File exists" in done.stderr:
        # Never removed by us: only the user can know that no git process is at work.
        hint = "wait for the other git process; if there is none, remove the lock file it names"
    return Fault(f"git {arguments[0]} failed ({done.returncode}): {said}", hint=hint)


def _run(
    root: Path, *arguments: str, settings: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    options = [part for setting in settings for part in ("-c", setting)]
    command = ["git", "-C", str(root), "--literal-pathspecs", *options, *arguments]
    try:
        return subprocess.run(
            command,
            env=_environment(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
    except FileNotFoundError as error:
        raise Fault("git is not installed, or not on the PATH", hint="install git") from error


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in inherited.items() if name not in _MISLEADING}
    return {**kept, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
