"""The remote of a workspace's repository: what others have published there, and publishing.

A commit of ours is made on top of what the remote has, beside the user's branch and index, and
pushed at once: the push is a compare-and-swap, which git refuses where another clone was faster. So
the commits that a branch has before its remote are the user's, always, and are never published.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from perdure.errors import Fault, Unreachable, UsageError
from perdure.tasks.git.command import NO_REPOSITORY, Done, error_line, fault, git, run
from perdure.tasks.git.repository import identity

REMOTE_SECONDS = 120.0
"""How long a fetch or a push may take; they are of small files."""
RACE = re.compile(
    # From git itself, and from servers that lost a race between two pushes.
    r"non-fast-forward|fetch first|stale info|cannot lock ref|failed to update ref|"
    r"incorrect old value|reference already exists|needs merge"
)
"""A push that git refuses with this may be done again on top of what the remote has."""
_STALLED = ("http.lowSpeedLimit=1", "http.lowSpeedTime=30", "credential.interactive=false")
_SSH = (
    "ssh -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15 -o ServerAliveCountMax=2"
)


@dataclass(frozen=True)
class Branch:
    """The present branch, and what it is called at the remote."""

    remote: str
    local: str
    """As in `main`."""
    ref: str
    """At the remote, as in `refs/heads/main`."""

    @property
    def tracking(self) -> str:
        """Where git notes what the remote had."""
        return f"refs/remotes/{self.remote}/{self.ref.removeprefix('refs/heads/')}"


def branch(root: Path, remote: str) -> Branch:
    """The present branch.

    Raises:
        UsageError: There is none (a detached HEAD), no such remote, or no repository.
        Fault: git refuses, as a repository that belongs to another user.
    """
    done = run(root, "symbolic-ref", "--quiet", "HEAD")
    if NO_REPOSITORY in done.stderr:
        raise UsageError(f"{root} lies in no git repository", hint=f"git init {root}")
    if done.returncode not in (0, 1):
        raise fault(("symbolic-ref",), done)
    if done.returncode:
        raise UsageError(
            f"{root} is on no branch, so there is none to publish data on",
            hint="git switch BRANCH",
        )
    local = done.stdout.strip().removeprefix("refs/heads/")
    if run(root, "remote", "get-url", remote).returncode:
        raise UsageError(
            f'shared.git_remote = "{remote}", but the repository of {root} has no such remote',
            hint=f"git remote add {remote} URL",
        )
    of = run(root, "config", "--get", f"branch.{local}.remote").stdout.strip()
    merged = run(root, "config", "--get", f"branch.{local}.merge").stdout.strip()
    ref = merged if of == remote and merged else f"refs/heads/{local}"
    return Branch(remote, local, ref)


def fetch(root: Path, branch: Branch) -> str | None:
    """Ask the remote.

    Returns:
        The commit that it has; None: no such branch yet.

    Raises:
        Unreachable: It does not answer, or not in time.
    """
    done = ask(
        root, "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-auto-gc",
        branch.remote, f"+{branch.ref}:{branch.tracking}",
    )  # fmt: skip
    if done.returncode == 0:
        return theirs(root, branch)
    if "couldn't find remote ref" in done.stderr:
        return None
    raise _unreachable(branch, "fetch", done)


def published(root: Path, branch: Branch) -> str | None:
    """The commit that the remote has, without fetching it; None: no such branch yet.

    Raises:
        Unreachable: It does not answer, or not in time.
    """
    done = ask(root, "ls-remote", "--quiet", branch.remote, branch.ref)
    if done.returncode:
        raise _unreachable(branch, "ls-remote", done)
    found = {ref: commit for commit, _, ref in (x.partition("\t") for x in done.stdout.split("\n"))}
    return found.get(branch.ref)


def has(root: Path, commit: str) -> bool:
    """Whether the present branch has a commit."""
    return not run(root, "merge-base", "--is-ancestor", commit, "HEAD").returncode


def theirs(root: Path, branch: Branch) -> str | None:
    """The remote's commit when it was last asked; None: it was not, or had none."""
    done = run(root, "rev-parse", "--verify", "--quiet", f"{branch.tracking}^{{commit}}")
    return done.stdout.strip() or None if done.returncode == 0 else None


def relation(root: Path, commit: str) -> tuple[int, int]:
    """How many commits the present branch has that another commit has not, and the reverse.

    Raises:
        Fault: git refuses.
    """
    done = git(root, "rev-list", "--left-right", "--count", f"HEAD...{commit}")
    ahead, behind = done.stdout.split()
    return int(ahead), int(behind)


def fast_forward(root: Path, commit: str) -> None:
    """Move the present branch and its files forward to a commit that goes on from it.

    Raises:
        UsageError: A file of the user's, changed and not committed, is in the way.
        Fault: git refuses for another reason.
    """
    settings = (f"core.hooksPath={os.devnull}", *identity(root))
    try:
        git(root, "merge", "--quiet", "--ff-only", "--no-stat", commit, settings=settings)
    except Fault as error:
        if "would be overwritten" not in error.message:
            raise
        raise UsageError(
            f"others have changed what is changed here and not committed: {error.message}",
            hint="git stash, or commit it; then again",
        ) from error


def proposed(root: Path, parent: str, paths: Sequence[Path], message: str) -> str | None:
    """Make a commit of the present state of files on top of another, and of nothing else.

    The branch, its index and its files stay as they are.

    Returns:
        The commit; None: the files are already so.

    Raises:
        Fault: git refuses.
    """
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git(root, "read-tree", parent, environment=index)
        git(root, "add", "--all", "--", *map(str, paths), environment=index)
        tree = git(root, "write-tree", environment=index).stdout.strip()
    if tree == git(root, "rev-parse", f"{parent}^{{tree}}").stdout.strip():
        return None
    done = git(root, "commit-tree", tree, "-p", parent, "-m", message, settings=identity(root))
    return done.stdout.strip()


def push(root: Path, branch: Branch, commit: str, paths: Sequence[Path]) -> bool:
    """Publish a commit that `proposed` made, and move the present branch to it.

    Args:
        root: The folder.
        branch: The branch.
        commit: The commit.
        paths: The files that it is of.

    Returns:
        Whether it was published; False: another clone was faster.

    Raises:
        Unreachable: The remote does not answer. It may have taken the commit.
        Fault: It refuses the commit, as a protected branch does.
    """
    done = ask(
        root, "push", "--porcelain", "--no-verify", "--no-follow-tags", "--no-signed",
        "--recurse-submodules=no", branch.remote, f"{commit}:{branch.ref}",
    )  # fmt: skip
    if done.returncode:
        refused = next((li for li in done.stdout.splitlines() if li.startswith("!")), None)
        if refused is None:
            raise _unreachable(branch, "push", done)
        if RACE.search(refused):
            return False
        raise Fault(
            f"the git remote {branch.remote} refuses a commit of data: "
            f"{refused.split(chr(9))[-1]}; {error_line(done)}",
            hint=f"may this machine push to {branch.ref.removeprefix('refs/heads/')}?",
        )
    # With these in the index as they are in the commit, git sees nothing in the way.
    git(root, "add", "--all", "--", *map(str, paths))
    fast_forward(root, commit)
    return True


def ask(root: Path, *arguments: str, seconds: float | None = None) -> Done:
    """Git, talking to a remote: no questions, and no waiting for ever."""
    own = "GIT_SSH_COMMAND" in os.environ or "GIT_SSH" in os.environ
    own = own or not run(root, "config", "--get", "core.sshCommand").returncode
    environment = {} if own else {"GIT_SSH_COMMAND": _SSH}
    seconds = seconds or REMOTE_SECONDS
    try:
        return run(
            root,
            *arguments,
            settings=_STALLED,
            environment=environment,
            seconds=seconds,
        )
    except subprocess.TimeoutExpired:
        text = f"no end after {seconds:g} s"
        return subprocess.CompletedProcess(arguments, 124, "", text)


def _unreachable(branch: Branch, verb: str, done: Done) -> Unreachable:
    return Unreachable(
        f"the git remote {branch.remote} does not answer: {error_line(done)}",
        hint=f"git {verb} {branch.remote}",
    )
