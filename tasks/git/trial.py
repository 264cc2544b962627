"""Whether a remote answers, and would take a push: asked without changing anything anywhere."""

from __future__ import annotations

from pathlib import Path

from perdure.tasks.git.command import error_line, run
from perdure.tasks.git.remote import RACE, Branch, ask

TRIAL_SECONDS = 20.0
"""How long a remote may take to answer."""


def try_push(root: Path, branch: Branch) -> str | None:
    """Ask the remote for a push, and do not push.

    Its rules for single branches are checked only by a real push.

    Returns:
        Why it would not be possible, as git says it; None: nothing is known to be in the way.
    """
    done = ask(
        root, "push", "--dry-run", "--porcelain", "--no-verify", "--no-follow-tags", "--no-signed",
        "--recurse-submodules=no", branch.remote, f"HEAD:{branch.ref}", seconds=TRIAL_SECONDS,
    )  # fmt: skip
    refused = next((li for li in done.stdout.splitlines() if li.startswith("!")), None)
    # It has others' commits: publishing takes them over first.
    if done.returncode == 0 or (refused is not None and RACE.search(refused)):
        return None
    return error_line(done) or f"git push ended with {done.returncode}"


def try_fetch(root: Path, remote: str) -> str | None:
    """Ask the remote for its branches.

    Returns:
        Why it does not answer, as git says it; None: it does.
    """
    done = ask(root, "ls-remote", "--heads", "--quiet", "--", remote, seconds=TRIAL_SECONDS)
    return None if done.returncode == 0 else error_line(done) or f"git ended with {done.returncode}"


def remote_of(root: Path) -> str | None:
    """The remote that the present branch follows, or else the first; None: there is none."""
    names = run(root, "remote").stdout.split()
    local = run(root, "symbolic-ref", "--quiet", "--short", "HEAD").stdout.strip()
    of = run(root, "config", "--get", f"branch.{local}.remote").stdout.strip()
    return of if of in names else next(iter(names), None)
