"""`data.dvc`, which says what the data is: read it, and keep it through a kill.

DVC writes the file in place, so a process killed at the wrong moment leaves it empty, and
DVC itself stumbles over that ever after. So a copy of the last good one lies in `.perdure`
while DVC writes; whoever comes next reads the copy, and puts it back.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from perdure.config import Workspace
from perdure.errors import Fault

_PRESENT = "data-revision"
_HASH = re.compile(r"[0-9a-f]{32}\.dir")


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
    """
    return _recorded(ws)[0]


def revision_in(text: str | None) -> str | None:
    """DVC's hash in the text of a `data.dvc`; None: there is none, or nobody can read it."""
    try:
        return None if text is None else _parsed(text.encode())[0]
    except ValueError:
        return None


def present(ws: Workspace) -> str | None:
    """The revision that the folder was last brought to, or recorded as; None: nobody noted it.

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
    ws.state.mkdir(parents=True, exist_ok=True)
    part = ws.state / f"{_PRESENT}.part"
    part.write_text(found, encoding="ascii")
    part.replace(ws.state / _PRESENT)


def listed(ws: Workspace, revision: str | None) -> frozenset[str] | None:
    """The files of a revision, relative to the folder; None: this clone does not know."""
    if revision is None:
        return None
    listing = ws.root / ".dvc" / "cache" / "files" / "md5" / revision[:2] / revision[2:]
    try:
        entries = json.loads(listing.read_text(encoding="utf-8"))
        return frozenset(str(entry["relpath"]) for entry in entries)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def missing(ws: Workspace) -> bool:
    """Whether there is data that this clone has not got yet, or not whole; `pull` brings it."""
    return pointer(ws).exists() and (not ws.data.exists() or pulling(ws).exists())


@contextmanager
def kept(ws: Workspace) -> Iterator[None]:
    """Keep a copy of `data.dvc` (empty: there was none) for as long as DVC may write it."""
    copy = _copy(ws)
    copy.parent.mkdir(parents=True, exist_ok=True)
    part = copy.with_suffix(".part")
    with part.open("wb") as file:
        file.write(pointer(ws).read_bytes() if pointer(ws).exists() else b"")
        file.flush()
        os.fsync(file.fileno())
    part.replace(copy)
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
        _parsed(pointer(ws).read_bytes())
    except (OSError, ValueError):
        if copy.stat().st_size:
            pointer(ws).write_bytes(copy.read_bytes())
        else:
            pointer(ws).unlink(missing_ok=True)
    copy.unlink()


def nothing_lost(ws: Workspace) -> None:
    """Refuse to record a folder that lacks experiences: the record would be without them too.

    Raises:
        Fault: Experiences that were recorded are not in the folder.
    """
    recorded, count = _recorded(ws)
    if recorded is None:
        return
    names = listed(ws, recorded)
    if names is not None:
        lost = sorted(
            n for n in names if n.startswith("experiences/") and not (ws.data / n).exists()
        )
    else:  # another clone's: only its count
        found = sum(len(inside) for _, _, inside in os.walk(ws.data))
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
        return _parsed(path.read_bytes())
    except FileNotFoundError:
        return None, 0
    except (OSError, ValueError) as error:
        try:
            before = _copy(ws).read_bytes()
            return _parsed(before) if before else (None, 0)
        except (OSError, ValueError):  # no kill of ours: a merge's marks, or an editor's work
            raise Fault(
                f"{path} cannot be read: {error}", hint=f"git checkout -- {path.name}"
            ) from error


def _parsed(text: bytes) -> tuple[str, int]:
    try:
        out = yaml.safe_load(text)["outs"][0]
        found, count = str(out["md5"]), int(out["nfiles"])
        whole = _HASH.fullmatch(found) is not None and "path" in out
    except (yaml.YAMLError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"it is not what DVC writes ({type(error).__name__})") from error
    if not whole:
        raise ValueError("it is not what DVC writes of a folder")
    return found, count
