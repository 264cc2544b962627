"""DVC: versions of the data folder as a whole, kept in a cache and a remote.

`data.dvc`, beside the folder, holds its hash; git keeps `data.dvc`.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure.addresses import in_text
from perdure.config import Workspace
from perdure.errors import Fault, Unreachable, UsageError
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
    is said here. DVC stages its own files, and none but those, in git: commit `files(ws)`.

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


def add_and_push(ws: Workspace) -> str:
    """Record the data folder as it is, and copy what is new to the default remote.

    Killed at any point, it does the rest when called again.

    Returns:
        DVC's hash of the data.

    Raises:
        Fault: The disk is full, or experiences recorded before are no longer in the folder.
        Unreachable: The remote does not answer. The data is recorded all the same.
    """
    ws.data.mkdir(parents=True, exist_ok=True)
    repair(ws)
    nothing_lost(ws)
    with quietly() as said:
        with named("add"), kept(ws):
            patiently(lambda: use(ws.root, lambda repo: repo.add([str(ws.data)])))
        with remotely(ws, said):
            _prepare_local(ws)
            targets = [str(pointer(ws))]
            patiently(lambda: use(ws.root, lambda repo: repo.push(targets=targets)))
    found = revision(ws)
    if found is None:
        raise Fault(f"dvc add left no {pointer(ws).name}", hint="perdure doctor")
    return found


def pull(ws: Workspace) -> None:
    """Bring the data that `data.dvc` names, from the cache or the default remote.

    Raises:
        Unreachable: The remote does not answer, or has not got it.
        Fault: The disk is full.
        UsageError: There is no `data.dvc`.
    """
    repair(ws)
    if revision(ws) is None:
        raise UsageError(f"{pointer(ws)} does not exist", hint="perdure ingest FILE")
    with quietly() as said, remotely(ws, said):
        # DVC looks up relative targets from the working directory: give it absolute ones.
        targets = [str(pointer(ws))]
        pulling(ws).parent.mkdir(parents=True, exist_ok=True)
        pulling(ws).touch()
        patiently(lambda: use(ws.root, lambda repo: repo.pull(targets=targets)))
        note(ws)
        pulling(ws).unlink()
    if not ws.data.exists():
        raise Unreachable(f"dvc pull brought no {ws.data.name}/", hint="dvc remote list")


def remote_problem(ws: Workspace) -> str | None:
    """Why the default remote does not answer; None: it does."""
    said: list[str | None] = []

    def look() -> None:
        try:
            fs, path = use(ws.root, _remote)
            said.append(None if fs.exists(path) else f"{path} is not there")
        except Exception as error:  # noqa: BLE001 - each remote's library has errors of its own
            said.append(in_text(str(error).strip() or type(error).__name__))

    with quietly():
        # Some of those libraries try for minutes, and none can be stopped.
        thread = threading.Thread(target=look, daemon=True, name="dvc remote")
        thread.start()
        thread.join(ANSWER_SECONDS)
    return said[0] if said else f"no answer within {ANSWER_SECONDS:g} s"


def _remote(repo: Repo) -> tuple[Any, str]:
    remote = repo.cloud.get_remote()
    return remote.fs, str(remote.path)


def _prepare_local(ws: Workspace) -> None:
    """DVC would make a missing folder; a network disk that is not mounted looks like one."""
    fs, path = use(ws.root, _remote)
    if fs.protocol != "local":
        return
    if Path(path).is_dir():
        _drop_empty_listing(Path(path), revision(ws))
        return
    if Path(path) == ws.root / LOCAL_REMOTE:
        Path(path).mkdir(parents=True, exist_ok=True)
        return
    raise Unreachable(f"the DVC remote {path} does not exist", hint=f"mount it, or mkdir {path}")


def _drop_empty_listing(remote: Path, recorded: str | None) -> None:
    """Remove the folder's listing from a local remote where it is empty.

    DVC makes an object empty under its last name, tries to reflink it, and removes it again
    where the file system cannot. Killed in between it leaves the empty one, and refuses every
    later push as corrupted (dvc-objects 5, `fs/generic.py`).
    """
    if recorded is None:
        return
    listing = remote / "files" / "md5" / recorded[:2] / recorded[2:]
    if listing.is_file() and listing.stat().st_size == 0:
        listing.unlink()
