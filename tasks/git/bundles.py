"""A repository as one file, and what is not committed in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from perdure.errors import Fault
from perdure.secrets import without_secrets
from perdure.tasks.git.command import fault, git, run

_CLOSED = re.compile(r"^warning: could not open directory '(.*)': Permission denied$", re.M)
"""What git says of an untracked folder, and goes on without it."""
HEADS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


def bundle(root: Path, file: Path) -> str:
    """Write all branches and tags, and HEAD, with their history.

    Returns:
        The commit that is checked out.

    Raises:
        Fault: git refuses, or this clone has not got the whole history.
    """
    if git(root, "rev-parse", "--is-shallow-repository").stdout.strip() == "true":
        raise Fault(
            f"{root} is a shallow clone: a backup would be without its history",
            hint="git fetch --unshallow",
        )
    head = git(root, "rev-parse", "HEAD").stdout.strip()
    git(root, "bundle", "create", "--quiet", str(file), "--branches", "--tags", "HEAD")
    return head


def unbundle(file: Path, root: Path, branch: str | None, head: str) -> None:
    """Make a repository of a bundle; no file is checked out.

    Args:
        file: The bundle.
        root: An empty folder.
        branch: The branch to be on; None: on none.
        head: The commit to be at.

    Raises:
        Fault: git refuses.
    """
    git(root, "init", "--quiet", "--template=")
    git(root, "fetch", "--quiet", "--update-head-ok", str(file), *HEADS)
    git(root, "fetch", "--quiet", str(file), "HEAD")
    if branch is None:
        git(root, "update-ref", "--no-deref", "HEAD", head)
    else:
        git(root, "symbolic-ref", "HEAD", f"refs/heads/{branch}")
    git(root, "reset", "--quiet", head)


def check_out(root: Path) -> None:
    """Write all files of the commit into a folder that has none."""
    git(root, "checkout-index", "--all", "--quiet")


def on_branch(root: Path) -> str | None:
    """The branch that is checked out; None: none is.

    Raises:
        Fault: git refuses.
    """
    done = run(root, "symbolic-ref", "--quiet", "--short", "HEAD")
    if done.returncode not in (0, 1):
        raise fault(("symbolic-ref",), done)
    return done.stdout.strip() or None


def remotes(root: Path) -> dict[str, str]:
    """The remotes' addresses by name, without secrets."""
    done = run(root, "config", "--get-regexp", r"^remote\..*\.url$")
    found = {}
    for line in done.stdout.splitlines():
        key, _, address = line.partition(" ")
        found[key.removeprefix("remote.").removesuffix(".url")] = without_secrets(address)
    return found


def add_remotes(root: Path, addresses: Mapping[str, str]) -> None:
    """Add remotes; nothing is fetched."""
    for name, address in addresses.items():
        git(root, "remote", "add", "--", name, address)


def listed(root: Path) -> tuple[list[str], list[str]]:
    """List what lies in a folder and is not ignored, whether it is committed or not.

    Returns:
        The names of files, links and repositories within this one, and of files that were
        deleted and not committed; and those of folders that may not be read.
    """
    done = git(
        root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"
    )
    return sorted(name for name in done.stdout.split("\0") if name), _CLOSED.findall(done.stderr)
