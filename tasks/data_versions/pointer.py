"""`data.dvc`, which says what the data is: read it, and keep it through a kill.

DVC writes the file in place, so a process killed at the wrong moment leaves it empty, and
DVC itself stumbles over that ever after. So a copy of the last good one lies in `.perdure`
while DVC writes; the next process reads the copy, and puts it back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from perdure import atomic
from perdure.config import Workspace
from perdure.errors import Corrupt, Fault
from perdure.tasks.data_versions import listing

_PRESENT = "data-revision"
_HASH = re.compile(r"[0-9a-f]{32}\.dir")
_KEYS = frozenset({"outs", "desc", "meta"})
_OUT_KEYS = frozenset({"md5", "size", "nfiles", "hash", "path", "desc", "meta", "remote", "push"})
"""Not `wdir`, `deps`, `cmd` and `files`: by those DVC writes elsewhere, or fetches from there."""


def pointer(ws: Workspace) -> Path:
    """`data.dvc`."""
    return ws.data.with_name(ws.data.name + ".dvc")


def pulling(ws: Workspace) -> Path:
    """The marker of a pull that has not ended yet."""
    return ws.state / "pulling"


def revision(ws: Workspace) -> str | None:
    """DVC's hash of the data, as it stands in `data.dvc`; None: there is none yet.

    Raises:
        Fault: `data.dvc` cannot be read.
        Corrupt: It is about something else than the data folder.
    """
    return _recorded(ws)[0]


def revision_in(text: str | None) -> str | None:
    """DVC's hash in the text of a `data.dvc`; None: there is none, or it cannot be read."""
    try:
        return None if text is None else _parsed(text.encode(), None)[0]
    except ValueError:
        return None


def present(ws: Workspace) -> str | None:
    """The revision that the folder was last brought to, or recorded as; None: not noted.

    What an ingest is adding lies in the folder beside it.
    """
    try:
        return (ws.state / _PRESENT).read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


def note(ws: Workspace) -> None:
    """Note that the folder is at the revision that `data.dvc` names."""
    found = revision(ws)
    if found is None or found == present(ws):
        return
    atomic.write_text(ws.state / _PRESENT, found)


def listed(ws: Workspace, revision: str | None) -> frozenset[str] | None:
    """The files of a revision, relative to the folder; None: this clone does not know.

    Raises:
        Corrupt: Its listing names what does not belong into the folder.
    """
    if revision is None:
        return None
    found = listing.read(ws.root / listing.CACHE / listing.place(revision), revision)
    return None if found is None else frozenset(found)


def missing(ws: Workspace) -> bool:
    """Whether there is data that this clone has not got yet, or not whole; `pull` brings it."""
    return pointer(ws).exists() and (not ws.data.exists() or pulling(ws).exists())


@contextmanager
def kept(ws: Workspace) -> Iterator[None]:
    """Keep a copy of `data.dvc` (empty: there was none) for as long as DVC may write it."""
    copy = _copy(ws)
    text = pointer(ws).read_text(encoding="utf-8") if pointer(ws).exists() else ""
    atomic.write_text(copy, text)
    try:
        yield
    except Exception:  # whatever it was, it goes on; only the pointer is put right first
        repair(ws)
        raise
    copy.unlink()


def repair(ws: Workspace) -> None:
    """Put `data.dvc` back as it was, where a kill left half of it."""
    copy = _copy(ws)
    if not copy.exists():
        return
    try:
        _parsed(pointer(ws).read_bytes(), ws.data.name)
    except (OSError, ValueError):
        if copy.stat().st_size:
            pointer(ws).write_bytes(copy.read_bytes())
        else:
            pointer(ws).unlink(missing_ok=True)
    copy.unlink()


def nothing_lost(ws: Workspace, gone: Collection[str] = ()) -> None:
    """Refuse to record a folder that lacks experiences: the record would be without them too.

    Args:
        ws: The workspace.
        gone: Experiences, by id, that were taken away on purpose.

    Raises:
        Fault: Experiences that were recorded are not in the folder.
    """
    recorded, count = _recorded(ws)
    if recorded is None:
        return
    names = listed(ws, recorded)
    if names is not None:
        known = {f"experiences/{name}.parquet" for name in gone}
        lost = sorted(
            n for n in names - known if n.startswith("experiences/") and not (ws.data / n).exists()
        )
    else:  # another clone's: only its count
        found = sum(len(inside) for _, _, inside in os.walk(ws.data))
        found += len(gone)
        lost = [f"{count - found} files"] if found < count else []
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise Fault(
            f"{ws.data} lacks {lost[0]}{more}, which {pointer(ws).name} lists; "
            "nothing was recorded",
            hint=f"dvc checkout {pointer(ws).name}, or dvc pull, brings it back",
        )


def _copy(ws: Workspace) -> Path:
    return ws.state / f"{pointer(ws).name}.before"


def _recorded(ws: Workspace) -> tuple[str | None, int]:
    """The hash, and how many files."""
    path = pointer(ws)
    try:
        return _parsed(path.read_bytes(), ws.data.name)
    except FileNotFoundError:
        return None, 0
    except (OSError, ValueError) as error:
        try:
            before = _copy(ws).read_bytes()
            return _parsed(before, ws.data.name) if before else (None, 0)
        except (OSError, ValueError):  # no kill of ours: a merge's marks, or an editor's work
            raise Fault(
                f"{path} cannot be read: {error}", hint=f"git checkout -- {path.name}"
            ) from error


def _parsed(text: bytes, folder: str | None) -> tuple[str, int]:
    """The hash, and how many files.

    Args:
        text: Of a `data.dvc`.
        folder: The name of the data folder, which alone it may be about; None: not asked.

    Raises:
        ValueError: It is not what DVC writes of a folder.
        Corrupt: DVC would fetch something else than the data folder.
    """
    try:
        value = yaml.safe_load(text)
        [out, *others] = value["outs"]
        found, count, path = str(out["md5"]), int(out["nfiles"]), str(out["path"])
        whole = _HASH.fullmatch(found) is not None and out["hash"] == "md5"
        unknown = sorted(map(str, set(value) - _KEYS | set(out) - _OUT_KEYS))
    except (yaml.YAMLError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"it is not what DVC writes ({type(error).__name__})") from error
    if not whole:
        raise ValueError("it is not what DVC writes of a folder")
    if folder is None:
        return found, count
    wrong = (
        f"has the key {unknown[0]!r}" if unknown else "has more than one folder" if others else ""
    )
    if path != folder:
        wrong = f"is about {path!r}, and not about {folder!r}"
    if wrong:
        raise Corrupt(
            f"{folder}.dvc {wrong}; nothing was fetched",
            hint=f"git log -p {folder}.dvc shows who recorded it",
        )
    return found, count
