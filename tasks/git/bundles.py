"""A repository as one file, and what is not committed in it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from perdure.addresses import without_secrets
from perdure.errors import Fault
from perdure.tasks.git.command import fault, git, run

_CLOSED = re.compile(r"^warning: could not open directory '(.*)': Permission denied$", re.M)
"""What git says of an untracked folder, and goes on without it."""
HEADS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


def refs(root: Path) -> str:
    """What the branches, the tags and HEAD are at; the same text, the same bundle."""
    said = git(root, "for-each-ref", "refs/heads", "refs/tags").stdout
    head = run(root, "symbolic-ref", "--quiet", "HEAD").stdout
    return said + head + git(root, "rev-parse", "HEAD").stdout


def bundle(root: Path, file: Path) -> None:
    """Write all branches and tags, and HEAD, with their history.

    Raises:
        Fault: git refuses, or this clone has not got the whole history.
    """
    if git(root, "rev-parse", "--is-shallow-repository").stdout.strip() == "true":
        raise Fault(
            f"{root} is a shallow clone: a backup would be without its history",
            hint="git fetch --unshallow",
        )
    git(root, "bundle", "create", "--quiet", str(file), "--branches", "--tags", "HEAD")


def unbundle(file: Path, root: Path, branch: str | None, head: str) -> None:
    """Make a repository of a bundle, with its files checked out.

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
        git(root, "checkout", "--quiet", "--detach", head)
    else:
        git(root, "symbolic-ref", "HEAD", f"refs/heads/{branch}")
        git(root, "reset", "--quiet", "--hard", head)


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


@dataclass(frozen=True)
class Changed:
    """What differs from the commit in a folder, relative to it."""

    files: tuple[str, ...]
    """Untracked ones too."""
    gone: tuple[str, ...]
    others: tuple[str, ...]
    """Neither: links, repositories within this one, and folders that may not be read."""


def changed(root: Path) -> Changed:
    """What differs from the commit in a folder, and is not ignored."""
    there = git(
        root, "ls-files", "-z", "--modified", "--others", "--exclude-standard", "--deduplicate"
    )
    staged = git(root, "diff", "-z", "--name-only", "--relative", "--no-renames", "HEAD").stdout
    names = sorted({name for name in (there.stdout + staged).split("\0") if name})
    files = tuple(name for name in names if not _is_link(root, name) and (root / name).is_file())
    gone = tuple(name for name in names if not os.path.lexists(root / name))
    known = {*files, *gone}
    others = (name for name in names if name not in known)
    return Changed(files, gone, (*others, *_CLOSED.findall(there.stderr)))


def _is_link(root: Path, name: str) -> bool:
    """Whether a path is a link, or lies behind one."""
    return any(
        (root / part).is_symlink() for part in (Path(name), *Path(name).parents) if part != Path()
    )
