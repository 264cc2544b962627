"""The doctor: is everything there that Perdure needs, and what mends it if not."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata

from packaging.requirements import Requirement

from perdure import disk
from perdure.config import Workspace
from perdure.errors import PerdureError, UsageError
from perdure.flows.opening import open_to_learn
from perdure.records import Check
from perdure.secrets import in_text, without_secrets
from perdure.tasks import data_versions, git, training
from perdure.tasks.registry import Registry

logger = logging.getLogger("perdure")

HEAVY = "du -sh .perdure/artifacts .perdure/scratch .dvc/cache inbox"


def examine(workspace: str, notices: Callable[[Workspace], None] | None = None) -> list[Check]:
    """Look at schema, disk, git, DVC, MLflow, Prefect, schedule, device, versions and others.

    Args:
        workspace: Folder of a workspace. Where there is none, what needs one is left out.
        notices: Raises where a receiver of `[[notify]]` has no address; None: not asked.

    Returns:
        One check each; `mend` is the command that mends it.
    """
    checks = [_try("versions", _versions), _try("git", _git)]
    try:
        ws = open_to_learn(workspace)
    except UsageError as error:
        checks.append(Check("workspace", False, error.message, error.hint or "edit perdure.toml"))
        return [
            *checks,
            _try("prefect", lambda: _prefect(None)),
            _try("device", lambda: _device("auto")),
        ]
    checks.append(Check("workspace", True, f"{ws.root}, model {ws.config.model.name}"))
    return [
        *checks,
        _try("schema", lambda: _schema(ws)),
        _try("disk", lambda: _disk(ws)),
        _try("inbox", lambda: _inbox(ws)),
        _try("locks", lambda: _locks(ws)),
        _try("dvc", lambda: _dvc(ws)),
        _try("remote", lambda: _remote(ws)),
        _try("git remote", lambda: _git_remote(ws)),
        _try("mlflow", lambda: _mlflow(ws)),
        _try("prefect", lambda: _prefect(ws)),
        *([_try("schedule", lambda: _schedule(ws))] if ws.config.schedule.is_set else []),
        *([_try("notices", lambda: _notices(ws, notices))] if notices and ws.config.notify else []),
        _try(
            "device",
            lambda: _device(ws.config.training.device, training.processes(ws.config)),
        ),
    ]


def _try(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except PerdureError as error:
        return Check(name, False, error.message, error.hint)
    except Exception as error:  # what is broken may break in any way, and is reported
        logger.debug("The check %s failed", name, exc_info=True)
        what = in_text(f"{type(error).__name__}: {error}")
        return Check(name, False, what, "perdure --verbose doctor shows where")


def _versions() -> Check:
    """Whether what is installed is within the bounds that pyproject.toml sets."""
    wrong = []
    for text in metadata.requires("perdure") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} {installed} is not {requirement.specifier}")
    if wrong:
        return Check("versions", False, "; ".join(wrong), "pip install -c constraints.txt -e .")
    shown = ", ".join(
        f"{name} {metadata.version(name)}"
        for name in ("torch", "avalanche-lib", "prefect", "mlflow", "dvc")
    )
    return Check("versions", True, f"Python {sys.version.split()[0]}, {shown}")


def _git() -> Check:
    path = shutil.which("git")
    if path is None:
        return Check("git", False, "not on the PATH", "apt install git, or brew install git")
    return Check("git", True, git.version())


def _schema(ws: Workspace) -> Check:
    """Whether it can be read, and has no limits that an older version inferred."""
    from perdure.flows import schema
    from perdure.tasks.tables import schema as schemas

    rules = schemas.load(ws.schema, ws.config.data)
    found = schema.inferred(ws, rules).in_words()
    if not found:
        return Check("schema", True, f"{ws.schema.name}, {len(rules.features)} features")
    shown = "; ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    what = f"{ws.schema.name} has limits that an older version inferred from the first file"
    return Check("schema", True, f"{what}: {shown}", "perdure schema --lift")


def _disk(ws: Workspace) -> Check:
    free = disk.free_bytes(ws.root)
    what = f"{free / 1e9:.1f} GB free"
    if free >= disk.LITTLE_BYTES:
        return Check("disk", True, what)
    return Check("disk", False, f"{free / 1e6:.0f} MB free", "free some space: " + HEAVY)


def _inbox(ws: Workspace) -> Check:
    """Whether what was ingested can be taken out; or it would be ingested again and again."""
    if not ws.inbox.is_dir():
        return Check("inbox", True, f"{ws.inbox} is made when something is to go into it")
    if os.access(ws.inbox, os.R_OK | os.W_OK | os.X_OK):
        return Check("inbox", True, f"{ws.inbox} can be written")
    return Check(
        "inbox",
        False,
        f"{ws.inbox} cannot be read and written, so files stay in it",
        f"chmod u+rwx {ws.inbox}",
    )


def _locks(ws: Workspace) -> Check:
    """Lock files of a git that was killed: Perdure removes one that is in its way; git does not."""
    top = git.top(ws.root)
    if not (left := git.left(top) if top else ()):
        return Check("locks", True, "git left none that stop a later command")
    names = shlex.join(map(str, left))
    return Check("locks", False, f"a git that was killed left {names}", f"rm {names}")


def _dvc(ws: Workspace) -> Check:
    if not data_versions.is_initialised(ws.root):
        return Check("dvc", False, f"no DVC repository in {ws.root}", "dvc init --subdir")
    if data_versions.missing(ws):
        return Check("dvc", False, f"{ws.data.name}/ is not on this machine", "dvc pull")
    revision = data_versions.revision(ws)
    return Check("dvc", True, f"data at {revision}" if revision else "no data yet")


def _remote(ws: Workspace) -> Check:
    problem = data_versions.remote_problem(ws)
    if problem is None:
        if not (lacking := data_versions.lacking(ws)):
            return Check("remote", True, "the default DVC remote answers, and has the data")
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        detail = f"the default DVC remote lacks {lacking[0]}{more} of the data"
        return Check("remote", False, detail, "perdure ingest")
    return Check(
        "remote", False, f"the default DVC remote does not answer: {problem}", "dvc remote list"
    )


def _git_remote(ws: Workspace) -> Check:
    """Whether data can be published; nothing is."""
    name = "git remote"
    remote = ws.config.shared.git_remote
    if remote is None:
        return _git_remote_of_others(ws)
    branch = git.branch(ws.root, remote)
    on = branch.ref.removeprefix("refs/heads/")
    problem = git.try_push(ws.root, branch)
    if problem is None:
        return Check(name, True, f"{remote} answers, and takes a push to {on}")
    answers = git.try_fetch(ws.root, remote) is None
    what = f"answers, but takes no push to {on}" if answers else "does not answer"
    return Check(
        name, False, f"{remote} {what}: {problem}", f"git push --dry-run {remote} HEAD:{on}"
    )


def _git_remote_of_others(ws: Workspace) -> Check:
    """One that the user has, and this workspace does not use: nothing waits for it."""
    remote = git.remote_of(ws.root)
    if remote is None:
        return Check("git remote", True, "none; shared.git_remote is not set")
    problem = git.try_fetch(ws.root, remote)
    answer = "answers" if problem is None else f"does not answer: {problem}"
    detail = f"{remote} {answer}; not used, as shared.git_remote is not set"
    return Check("git remote", True, detail)


def _mlflow(ws: Workspace) -> Check:
    """Whether it answers, and would load the champion with Perdure's code."""
    registry = Registry(ws)
    now = registry.read()
    if now.champion:
        registry.check(now.champion)
    champion = f"champion version {now.champion.version}" if now.champion else "no champion yet"
    return Check("mlflow", True, f"{_shown(ws)}, {champion}")


def _shown(ws: Workspace) -> str:
    """The tracking address, without a password."""
    if ws.config.tracking.uri is None:
        return "SQLite in .perdure/"
    return without_secrets(ws.tracking_uri)


def _prefect(ws: Workspace | None) -> Check:
    from perdure.orchestration import configured_server

    url = configured_server.configured(None if ws is None else ws.root)
    if url is None:
        return Check(
            "prefect",
            True,
            "no API configured and no perdure up: retrain brings a temporary server",
        )
    problem, shown = configured_server.problem(url), without_secrets(url)
    if problem is not None:
        hint = "prefect server start, or unset PREFECT_API_URL"
        return Check("prefect", False, f"{shown}: {problem}", hint)
    if ws is not None:
        from perdure.orchestration import api, pools

        with api.client(ws, retries=0) as client:
            lacking = pools.without_worker(client, ws.config.model.name)
        if lacking is not None:
            return Check("prefect", False, f"{shown} answers, but {lacking[0]}", lacking[1])
    return Check("prefect", True, f"{shown} answers")


def _schedule(ws: Workspace) -> Check:
    """Whether retraining has a next time by the clock; what is no schedule is no configuration."""
    wanted = ws.config.schedule
    found = wanted.following(datetime.now(UTC))
    if found is None:
        what = f"schedule.rrule = {wanted.rrule!r} has no time any more"
        return Check("schedule", False, what, "a later UNTIL, or none, in [schedule]")
    return Check("schedule", True, f"next retraining at {found:%Y-%m-%d %H:%M} {wanted.timezone}")


def _notices(ws: Workspace, check: Callable[[Workspace], None]) -> Check:
    """Whether there are addresses; nothing is sent."""
    check(ws)
    return Check("notices", True, f"{len(ws.config.notify)} receivers have addresses")


def _device(wanted: str, processes: int = 1) -> Check:
    import torch

    present = [
        f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        present.append("mps")
    shown = ", ".join(present) or f"cpu, {os.cpu_count()} cores"
    kind, _, index = wanted.partition(":")
    lacking = (kind == "cuda" and torch.cuda.device_count() <= int(index or 0)) or (
        kind == "mps" and not torch.backends.mps.is_available()
    )
    if lacking:
        return Check(
            "device", False, f"training.device = {wanted!r}, but here is {shown}", 'device = "auto"'
        )
    together = f"; {processes} processes learn together" if processes > 1 else ""
    return Check("device", True, shown + together)
