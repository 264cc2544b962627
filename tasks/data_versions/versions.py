"""DVC: versions of the data folder as a whole, kept in a cache and a remote.

`data.dvc`, beside the folder, holds its hash; git keeps `data.dvc`.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure import atomic
from perdure.config import Workspace
from perdure.errors import Corrupt, Fault, Unreachable, UsageError
from perdure.secrets import in_text
from perdure.tasks.data_versions import listing, remote_objects
from perdure.tasks.data_versions.client import named, opened, patiently, quietly, remotely, use
from perdure.tasks.data_versions.pointer import (
    kept,
    note,
    nothing_lost,
    pointer,
    pulling,
    repair,
    revision,
)

if TYPE_CHECKING:
    from dvc.repo import Repo

REMOTE = "storage"
"""Name of the default remote."""
ANSWER_SECONDS = 30.0
"""How long the default remote may take to answer."""
LOCAL_REMOTE = Path(".perdure") / "dvc-remote"
"""The default remote's folder, relative to the workspace."""


def init(root: Path, remote: str | None = None) -> None:
    """Make a folder of a git repository a DVC repository, with a default remote.

    Finishes one that was begun and cut short; on a finished one it changes nothing but what
    is reported here. DVC stages its own files, and none but those, in git: commit `files(ws)`.

    Args:
        root: The workspace; may lie below the top of the git repository.
        remote: A URL that DVC knows, or a folder, relative to `root`. None: a folder inside
            the workspace.

    Raises:
        Fault: DVC refuses.
    """
    from dvc.config_schema import RelPath
    from dvc.repo import Repo

    root = root.resolve()
    with quietly(), named("init"):
        if not (root / ".dvc" / "config").exists():
            # One that was cut short is begun afresh; but force would remove a cache too.
            begun = (root / ".dvc").exists() and not (root / ".dvc" / "cache").exists()
            Repo.init(str(root), subdir=not (root / ".git").exists(), force=begun).close()
        with opened(root) as repo, repo.config.edit("repo") as config:
            config["core"].update(analytics=False, autostage=False)
            if remote is None and "remote" in config["core"]:
                return
            config["core"]["remote"] = REMOTE
            url = remote or str(LOCAL_REMOTE)
            if "://" not in url and not Path(url).is_absolute():
                url = RelPath((root / url).resolve())  # kept relative in the file
            config["remote"][REMOTE] = {"url": url}
    if remote is None:
        (root / LOCAL_REMOTE).mkdir(parents=True, exist_ok=True)


def is_initialised(root: Path) -> bool:
    """Whether the folder is a DVC repository with a default remote."""
    try:
        return "remote = " in (root / ".dvc" / "config").read_text(encoding="utf-8")
    except OSError:
        return False


def files(ws: Workspace) -> tuple[Path, ...]:
    """What belongs in git, as far as it exists."""
    named = (pointer(ws), ws.data.parent / ".gitignore", ws.root / ".dvc" / "config",
             ws.root / ".dvc" / ".gitignore", ws.root / ".dvcignore")  # fmt: skip
    return tuple(path for path in named if path.exists())


def add_and_push(ws: Workspace, gone: Collection[str] = ()) -> str:
    """Record the data folder as it is, and copy what is new to the default remote.

    Killed at any point, it does the rest when called again.

    Args:
        ws: The workspace.
        gone: Experiences, by id, that were taken out of the folder on purpose.

    Returns:
        DVC's hash of the data.

    Raises:
        Fault: The disk is full, or experiences recorded before are no longer in the folder.
        Unreachable: The remote does not answer. The data is recorded all the same.
    """
    ws.data.mkdir(parents=True, exist_ok=True)
    repair(ws)
    nothing_lost(ws, gone)
    with quietly() as logged:
        with named("add"), kept(ws):
            patiently(lambda: use(ws.root, lambda repo: repo.add([str(ws.data)])))
        with remotely(ws, logged):
            if (local := _local(ws)) is not None:
                remote_objects.drop_half_written(ws, local)
            _push(ws)
    found = revision(ws)
    if found is None:
        raise Fault(f"dvc add left no {pointer(ws).name}", hint="perdure doctor")
    return found


def push_lacking(ws: Workspace) -> tuple[str, ...]:
    """Push what the default remote has not got, whatever DVC believes. Needs the data lock.

    Returns:
        The names of the files that it had not got.

    Raises:
        Unreachable: The remote does not answer.
    """
    with quietly() as logged, remotely(ws, logged):
        _local(ws)
        if found := remote_objects.lacking(ws):
            remote_objects.doubt(ws)
            _push(ws)
    return found


def pull(ws: Workspace) -> None:
    """Bring the data that `data.dvc` names, from the cache or the default remote.

    Raises:
        Unreachable: The remote does not answer, or has not got it.
        Fault: The disk is full.
        Corrupt: What it names is not in the data folder; nothing was fetched.
        UsageError: There is no `data.dvc`.
    """
    repair(ws)
    wanted = revision(ws)
    if wanted is None:
        raise UsageError(f"{pointer(ws)} does not exist", hint="perdure ingest FILE")
    with quietly() as logged, remotely(ws, logged):
        # DVC looks up relative targets from the working directory: give it absolute ones.
        targets = [str(pointer(ws))]
        names = patiently(lambda: use(ws.root, lambda repo: _listing(repo, wanted)))
        listing.no_links(ws.data, names)
        pulling(ws).parent.mkdir(parents=True, exist_ok=True)
        pulling(ws).touch()
        patiently(lambda: use(ws.root, lambda repo: repo.pull(targets=targets)))
        note(ws)
        pulling(ws).unlink()
    if not ws.data.exists():
        raise Unreachable(f"dvc pull brought no {ws.data.name}/", hint="dvc remote list")


def _listing(repo: Repo, revision: str) -> Mapping[str, str]:
    """What a pull would write, by name: the listing, in the cache and checked before anything else.

    Raises:
        Corrupt: It names what does not belong into the folder, or is not that of the revision.
        OSError: The remote has not got it.
    """
    path = Path(repo.cache.local.oid_to_path(revision))
    known = listing.read(path, revision)
    if known is not None:
        return known
    remote = repo.cloud.get_remote_odb(command="pull")
    data: bytes = remote.fs.cat_file(remote.oid_to_path(revision))
    if not listing.is_of(data, revision):
        raise Corrupt(f"the listing {revision} in the DVC remote is not what its name says")
    names = listing.checked(data)
    atomic.write_text(path, data.decode())
    return names


def remote_problem(ws: Workspace) -> str | None:
    """Why the default remote does not answer; None: it does."""
    problems: list[str | None] = []

    def look() -> None:
        try:
            fs, path = use(ws.root, _remote)
            problems.append(None if fs.exists(path) else f"{path} is not there")
        except Exception as error:  # noqa: BLE001 - each remote's library has errors of its own
            problems.append(in_text(str(error).strip() or type(error).__name__))

    with quietly():
        # Some of those libraries try for minutes, and none can be stopped.
        thread = threading.Thread(target=look, daemon=True, name="dvc remote")
        thread.start()
        thread.join(ANSWER_SECONDS)
    return problems[0] if problems else f"no answer within {ANSWER_SECONDS:g} s"


def _remote(repo: Repo) -> tuple[Any, str]:
    remote = repo.cloud.get_remote()
    return remote.fs, str(remote.path)


def _local(ws: Workspace) -> Path | None:
    """The default remote, where it is a folder; the one within the workspace is made.

    Raises:
        Unreachable: It does not exist. DVC would make it; a network disk that is not mounted looks
            like that.
    """
    fs, path = use(ws.root, _remote)
    if fs.protocol != "local":
        return None
    if Path(path) == ws.root / LOCAL_REMOTE:
        Path(path).mkdir(parents=True, exist_ok=True)
    if not Path(path).is_dir():
        raise Unreachable(
            f"the DVC remote {path} does not exist", hint=f"mount it, or mkdir {path}"
        )
    return Path(path)


def _push(ws: Workspace) -> None:
    targets = [str(pointer(ws))]
    patiently(lambda: use(ws.root, lambda repo: repo.push(targets=targets)))
