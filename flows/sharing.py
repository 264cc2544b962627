"""One workspace in several clones: what others published comes first, what is new goes after it.

With `[shared] git_remote` set. Data is published by a commit of `data.dvc` that is pushed on top
of what the remote has. The push is the compare-and-swap: git refuses it where another clone was
faster; then its experiences are taken over, ours get the numbers after them, and it is tried
again. DVC's push comes first, so no other clone sees a pointer to data that is not there.

The commits that a user has not pushed are never published here, and never lost: where they stand
in the way, the answer is what to do about them.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from pathlib import Path

from perdure.config import Workspace
from perdure.errors import Fault, Unreachable, UsageError
from perdure.orchestration.engine import step
from perdure.tasks import data_versions, experiences, git
from perdure.tasks.git import Branch
from perdure.tasks.tables import content

logger = logging.getLogger("perdure")

TRIES = 30
"""So often in a row others may be faster; each of them has then published something."""
TRIES_ALONE = 5
"""So often in a row the remote may say so though nothing came: another's push may be under way."""


def update(ws: Workspace, *, publishing: bool = False) -> dict[str, str]:
    """Bring git and the data folder up to date. Needs the data lock.

    What an ingest was adding stays in the folder, with numbers after what came. Without a git
    remote in the configuration only the folder follows `data.dvc`.

    Args:
        ws: The workspace.
        publishing: Whether something is to be published next.

    Returns:
        What the experiences that were being added are called now, where others came first.

    Raises:
        UsageError: Commits or files of the user's are in the way.
        Unreachable: The git remote or the DVC remote does not answer.
    """
    if ws.config.shared.git_remote is not None:
        branch = git.branch(ws.root, ws.config.shared.git_remote)
        theirs = step(git.fetch, name="git fetch", retries=2)(ws.root, branch)
        _follow(ws, branch, theirs, publishing)
    return follow_pointer(ws)


def follow_pointer(ws: Workspace) -> dict[str, str]:
    """Bring the data folder to where git's `data.dvc` is. Needs the data lock.

    It is behind on a fresh clone, after a `git pull`, and after a pull of data that was cut short.
    """
    behind = _is_behind(ws)
    if behind:
        _make_way(ws)
    elif data_versions.missing(ws):
        _set_aside(ws)
    if behind or data_versions.missing(ws):
        step(data_versions.pull, name="dvc pull", retries=2)(ws)
    return experiences.bring_back(ws, content.content_sha256)


def publish(ws: Workspace, message: str) -> dict[str, str]:
    """Record the data folder and publish it. Needs the data lock, and `update` before.

    Killed anywhere, `update` and this do the rest: each content is one experience.

    Args:
        ws: The workspace.
        message: Of the commit.

    Returns:
        What the experiences that were being added are called now, where others came first.

    Raises:
        Unreachable: A remote does not answer, or others were faster all the time.
        Fault: The git remote refuses the commit.
    """
    assert ws.config.shared.git_remote is not None
    branch = git.branch(ws.root, ws.config.shared.git_remote)
    renamed: dict[str, str] = {}
    alone = 0
    for tries in range(TRIES):
        gone = experiences.replaced(ws)
        step(data_versions.add_and_push, name="dvc add and push", retries=2)(ws, gone)
        before = git.theirs(ws.root, branch)
        if step(_publish, name="git push", retries=2)(ws, branch, message):
            return renamed
        time.sleep(random.uniform(0, min(0.2 * 2**tries, 3.0)))
        now = update(ws, publishing=True)
        renamed = {old: now.get(id_, id_) for old, id_ in renamed.items()} | now
        alone = alone + 1 if git.theirs(ws.root, branch) == before else 0
        if alone == TRIES_ALONE:
            raise Fault(
                f"the git remote {branch.remote} refuses a commit of data as if another clone had "
                f"been faster, {alone} times in a row, but none was; what is new here waits",
                hint=f"does a lock file of a dead git lie there, such as {branch.ref}.lock?",
            )
        logger.info("Another clone published data first; ours goes after it")
    raise Unreachable(
        f"other clones published to {branch.remote} first, {TRIES} times in a row; "
        "what is new here waits",
        hint="perdure ingest goes on with it",
    )


def _publish(ws: Workspace, branch: Branch, message: str) -> bool:
    theirs = git.theirs(ws.root, branch)
    if theirs is None:
        raise Fault(f"{branch.tracking} is gone", hint=f"git fetch {branch.remote}")
    files = [data_versions.pointer(ws)]
    ignored = _ignored(ws)
    if ignored.exists() and git.at(ws.root, theirs, ignored) is None:
        files.append(ignored)
    commit = git.proposed(ws.root, theirs, files, message)
    return commit is None or git.push(ws.root, branch, commit, files)


def _ignored(ws: Workspace) -> Path:
    """Where DVC has git ignore the data. What else a user changes in it is the user's."""
    return ws.data.parent / ".gitignore"


def _follow(ws: Workspace, branch: Branch, theirs: str | None, publishing: bool) -> None:
    """Move the branch forward to the remote's, and nothing else."""
    name = branch.ref.removeprefix("refs/heads/")
    if theirs is None:
        raise UsageError(
            f"the git remote {branch.remote} has no branch {name} yet",
            hint=f"git push --set-upstream {branch.remote} {name}",
        )
    ahead, behind = git.relation(ws.root, theirs)
    commits = f"{ahead} commit{'s' if ahead > 1 else ''}"
    if ahead and behind:
        raise UsageError(
            f"{branch.local} has {commits} that {branch.remote} has not, "
            f"which has {behind} others; nothing was changed",
            hint=f"git pull --rebase {branch.remote} {name} && git push {branch.remote} {name}",
        )
    if ahead and publishing:
        raise UsageError(
            f"{branch.local} has {commits} that {branch.remote} has not, and data is published "
            "after them; yours to publish, so nothing was changed",
            hint=f"git push {branch.remote} {name}",
        )
    if behind:
        if _pointer_at(ws, theirs) != _pointer_at(ws, "HEAD"):
            _make_way(ws)
        git.fast_forward(ws.root, theirs)


def _make_way(ws: Workspace) -> None:
    """Let what is recorded nowhere step aside, and `data.dvc` be as git has it."""
    data_versions.repair(ws)
    pointer, ignored = data_versions.pointer(ws), _ignored(ws)
    changed = data_versions.revision(ws) != _pointer_at(ws, "HEAD")
    if changed and experiences.unfinished(ws) is None:
        raise UsageError(
            f"{pointer.name} has changed and is not committed, and there is newer data; "
            "nothing was changed",
            hint=f"git checkout -- {pointer.name}, or commit and push it",
        )
    _set_aside(ws)
    if changed:
        git.restore(ws.root, pointer)
        if ignored.exists() and git.at(ws.root, "HEAD", ignored) is None:
            git.restore(ws.root, ignored)  # `dvc add` made it, and makes it again


def _set_aside(ws: Workspace) -> None:
    if ws.data.exists():
        experiences.set_aside(ws, data_versions.listed(ws, data_versions.present(ws)))


def _is_behind(ws: Workspace) -> bool:
    """Whether git knows of other data than the folder was last brought to."""
    recorded = _pointer_at(ws, "HEAD")
    if recorded is None:
        return False
    present = data_versions.present(ws)
    if present is not None:
        return recorded != present
    if ws.config.shared.git_remote is None or experiences.unfinished(ws) is not None:
        return False
    # From a version that did not note it.
    listed = data_versions.listed(ws, recorded)
    if listed is None or not all((ws.data / name).exists() for name in listed):
        return True
    data_versions.note(ws)
    return False


def _pointer_at(ws: Workspace, revision: str) -> str | None:
    return data_versions.revision_in(git.at(ws.root, revision, data_versions.pointer(ws)))


def message(names: Sequence[str]) -> str:
    """Message of a commit of data."""
    title = f"ingest {names[0]}" if len(names) == 1 else f"ingest {len(names)} files"
    return "\n".join([title, "", *names]) if names else "ingest"
