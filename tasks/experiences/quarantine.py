"""The quarantine: what was refused at the door, with the reasons, never lost.

`quarantine/<first 8 of the file's sha256>-<safe name>/` holds `record.json`, and
  reasons.csv         one line per finding: row, column, value, reason; those of the whole
                      file come first and have no row
  original.<suffix>   the file as it came, where it was refused whole; a folder as a ZIP archive
  rows.csv            the refused rows as they stand in the file, where only rows were refused
  rows.zip            and the files of such rows, where they are images
  aside-….parquet     those whose class is new and has too few rows, in canonical form: they join
                      a later experience; see `gathering`
A folder is there whole or not at all, and the same refusal twice is one folder.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure import atomic, escaping
from perdure.config import Workspace
from perdure.errors import Corrupt, Fault
from perdure.records import Quarantined, to_json
from perdure.tasks.experiences import archive_copy

if TYPE_CHECKING:
    import pandas as pd

RECORD = "record.json"
LONGEST = 80
"""Characters of a safe name; most file systems take 255 bytes."""


def quarantine(
    ws: Workspace,
    path: Path,
    reasons: Sequence[str],
    refused: pd.DataFrame | None = None,
    bad_rows: pd.DataFrame | None = None,
    rows: int = 0,
    by: str | None = None,
    files: Iterable[tuple[str, bytes]] | None = (),
    more: Callable[[Path], None] | None = None,
) -> Quarantined:
    """Put a copy of a refused file or folder, or its refused rows, into quarantine.

    The file itself stays where it is; a link is followed for reading only.

    Args:
        ws: The workspace.
        path: The file.
        reasons: In short, for the record; the first is its `reason`.
        refused: The table of findings, if rows were looked at.
        bad_rows: The refused rows, index `row`; None: the file is refused whole.
        rows: Rows of a file that is refused whole, as far as they could be counted.
        by: Who brought it.
        files: Of the refused rows, by name. None: all that came is to be kept with them.
        more: Writes more files into the folder before it appears in the quarantine.

    Returns:
        The record; that of the first time, if the same was refused for the same before.

    Raises:
        Fault: The file cannot be copied, or the disk is full.
    """
    scratch = ws.state / "tmp"
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        ws.quarantine.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch) as temporary:
            part = Path(temporary) / "part"
            part.mkdir()
            whole = bad_rows is None or files is None
            sha256 = archive_copy.keep(path, part) if whole else archive_copy.sha256(path)
            if bad_rows is not None:
                _write_csv(bad_rows, part / "rows.csv", index=True)
            if files:
                archive_copy.keep_files(files, part / "rows.zip")
            _write_reasons(part / "reasons.csv", reasons if bad_rows is None else (), refused)
            if more is not None:
                more(part)
            return _settle(ws, part, path, sha256, reasons, bad_rows, rows, by)
    except (OSError, ValueError) as error:
        raise Fault(f"{path} cannot be put into quarantine: {error}") from error


def put_back(ws: Workspace, folder: Path) -> None:
    """Move a folder that was taken out of the quarantine into it again, unless it is known there.

    Raises:
        Corrupt: A record cannot be read.
    """
    _, facts = _read(folder / RECORD, folder.name)
    wanted = (facts.get("sha256"), facts.get("reasons"))
    for _, _, known in _records(ws, f"{folder.name[:8]}-"):
        if (known.get("sha256"), known.get("reasons")) == wanted:
            shutil.rmtree(folder)
            return
    ws.quarantine.mkdir(parents=True, exist_ok=True)
    folder.rename(_free(ws, folder.name))
    atomic.sync(ws.quarantine)


def list_quarantined(ws: Workspace) -> tuple[Quarantined, ...]:
    """Every record, oldest first.

    Raises:
        Corrupt: A record cannot be read.
    """
    found = [record for _, record, _ in _records(ws)]
    return tuple(sorted(found, key=lambda record: (record.at, record.folder or "")))


def safe_name(name: str) -> str:
    """A name of letters, digits, `.`, `_` and `-` alone; no dot first; at most 80 long."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).lstrip(".-")
    suffix = Path(plain).suffix[:12]
    return Path(plain).stem[: LONGEST - len(suffix)] + suffix or "file"


def _settle(
    ws: Workspace,
    part: Path,
    path: Path,
    sha256: str,
    reasons: Sequence[str],
    bad_rows: pd.DataFrame | None,
    rows: int,
    by: str | None,
) -> Quarantined:
    for _, known, facts in _records(ws, f"{sha256[:8]}-"):
        if (facts.get("sha256"), facts.get("reasons")) == (sha256, list(reasons)):
            return known
    name = f"{sha256[:8]}-{safe_name(path.name)}"
    folder = _free(ws, name)
    record = Quarantined(
        file=escaping.printable(path.name),
        reason=reasons[0] if reasons else "refused",
        rows=rows if bad_rows is None else len(bad_rows),
        at=datetime.now(UTC).isoformat(timespec="microseconds"),
        folder=folder.relative_to(ws.root).as_posix(),
        by=by,
    )
    facts = {**to_json(record), "sha256": sha256, "reasons": list(reasons)}
    facts["whole"] = bad_rows is None
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    (part / RECORD).write_text(text, encoding="utf-8")
    for file in [*part.iterdir(), part]:
        atomic.sync(file)
    part.rename(folder)
    atomic.sync(ws.quarantine)
    return record


def _free(ws: Workspace, name: str) -> Path:
    folder, again = ws.quarantine / name, 1
    while folder.exists():
        again += 1
        folder = ws.quarantine / f"{name}-{again}"
    return folder


def _records(ws: Workspace, prefix: str = "") -> Iterator[tuple[Path, Quarantined, dict[str, Any]]]:
    if not ws.quarantine.is_dir():
        return
    for path in sorted(ws.quarantine.glob(f"{prefix}*/{RECORD}")):
        record, facts = _read(path, path.parent.relative_to(ws.root).as_posix())
        yield path.parent, record, facts


def _read(path: Path, folder: str) -> tuple[Quarantined, dict[str, Any]]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        record = Quarantined(
            str(facts["file"]), str(facts["reason"]), int(facts["rows"]), str(facts["at"]),
            folder, facts.get("by"),
        )  # fmt: skip
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Corrupt(
            f"{path} cannot be read: {error}", hint="dvc checkout --force data.dvc"
        ) from error
    return record, facts


def _write_csv(frame: pd.DataFrame, path: Path, *, index: bool) -> None:
    frame.to_csv(path, index=index, lineterminator="\n", encoding="utf-8")


def _write_reasons(path: Path, whole: Sequence[str], refused: pd.DataFrame | None) -> None:
    import csv

    with path.open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "column", "value", "reason"])
        writer.writerows(["", "", "", reason] for reason in whole)
        if refused is not None:
            writer.writerows(refused[["row", "column", "value", "reason"]].itertuples(index=False))
