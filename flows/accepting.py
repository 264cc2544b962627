"""One file that arrived: checked, and made an experience, kept waiting, or put into quarantine.

Nothing is versioned here, and the file stays where it is: cut short, it is simply taken again.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from perdure.config import Workspace
from perdure.errors import DataRefused
from perdure.flows import inbox, joining
from perdure.flows.inbox import Arrived
from perdure.orchestration import configured_server
from perdure.orchestration.engine import step
from perdure.records import Experience, Ingested
from perdure.records.data import Label, SourceFile
from perdure.tasks import experiences, refusal_notes
from perdure.tasks.tables import check, content, pictures, read
from perdure.tasks.tables.check import Checked
from perdure.tasks.tables.refusing import refusing
from perdure.tasks.tables.schema import Schema
from perdure.workspace import actor

if TYPE_CHECKING:
    import pandas as pd


def accept(
    ws: Workspace,
    arrived: Arrived,
    rules: Schema,
    known: list[Experience],
    results: list[Ingested],
) -> bool:
    """Read and check one file, and write what was accepted and what was refused.

    Nothing is versioned yet, and the file stays where it is: cut short here, it is simply
    ingested again.

    Args:
        ws: The workspace.
        arrived: The file.
        rules: The schema.
        known: Every experience so far; a new one is added.
        results: What has become of the files before; that of this one is added.

    Returns:
        Whether it was taken, and not left in the inbox for the next time.
    """
    file = arrived.path
    if inbox.is_foreign(ws, file):
        results.append(_refuse_link(ws, file))
        return True
    if inbox.is_unreadable(ws, file):
        return False
    try:
        found = _check(ws, file, rules, known)
        wrong = (*found.whole, *found.summary) if found.whole else ()
    except DataRefused as refusal:
        hint = f" → {refusal.hint}" if refusal.hint else ""
        found, wrong = None, (refusal.message + hint,)
    if inbox.has_changed(ws, arrived):
        return False
    if found is None or wrong:
        results.append(_refuse(ws, file, wrong, found))
    else:
        results[:] = _take(ws, file, found, rules, known, results)
    return True


def _check(ws: Workspace, file: Path, rules: Schema, known: Sequence[Experience]) -> Checked:
    """Check one file, with what earlier files say of new classes."""
    table = read.read(file, rules)
    data = ws.config.data
    waiting = experiences.waiting_files(ws, known)
    labels = experiences.labels_of(known, waiting)
    gathered = experiences.counts(joining.gathered(ws, rules, known, waiting))

    def look() -> Checked:
        return step(refusing(check.check), name=f"check {file.name}")(
            table.frame, rules, 1 if data.join else data.min_rows, labels, gathered
        )

    found = look()
    if len(found.aside):  # a class is no news where an experience of an older version has it
        target = rules.target.name
        older = experiences.labels_found(known, target, set(found.aside[target].tolist()))
        labels |= older
        found = look() if older else found
    return replace(found, notes=(*table.notes, *found.notes))


def _take(
    ws: Workspace,
    file: Path,
    found: Checked,
    rules: Schema,
    known: list[Experience],
    results: Sequence[Ingested],
) -> list[Ingested]:
    """Make an experience of what a file brought, or let its rows wait for those of later ones.

    Returns:
        What has become of the files before, as it is now, and of this one.
    """
    brought = content.content_sha256(found.accepted)
    offered = content.content_sha256(found.offered) if len(found.aside) else brought
    # A file that arrives again offers the same, whichever classes were let in meanwhile.
    same = experiences.find(known, offered, brought)
    waiting = experiences.waiting_files(ws, known)
    new = same is None and not {offered, brought} & {one.file.content for one in waiting}
    own = SourceFile(file.name, offered, len(found.accepted), _counted(found.aside, rules))
    if new and joining.stays_alone(ws, own) and (before := join_waiting(ws, rules, known)):
        results = joining.made_of(results, before)
    least = ws.config.data.join_rows
    made = joining.batch(ws, rules, known, (own, found.accepted), least) if new else None
    name = same.id if same else None
    if made:
        name = experiences.experience_id(experiences.next_number(known), made.sha256)
    if new or len(found.bad_rows):
        _begin(ws, name if new else None)
    folder = None
    if len(found.bad_rows):
        folder = _set_aside_rows(ws, file, found, rules, offered)
    rows = len(made.frame) if made else own.rows
    result = Ingested(
        file=file.name,
        outcome="ingested" if made else "waiting" if new else "known",
        experience=name,
        rows=rows,
        refused_rows=len(found.bad_rows),
        reasons=found.summary,
        folder=folder,
        refused_share=len(found.bad_rows) / found.rows,
        joined_rows=rows - own.rows,
        notes=_notes(ws, found, rules, known, made) if new else (),
        distinct_rows=made.distinct_rows if made else None,
        files=made.file_rows if made else (),
    )
    if new:
        _note_refusal(ws, result)
    if made:
        joining.write(ws, made, rules, known)
        return joining.made_of(results, result, own)
    if new:
        experiences.write_waiting(
            ws,
            ws.waiting,
            experiences.next_place(waiting),
            found.accepted,
            brought,
            own,
            rules.form,
            joining.unlisted(found.accepted, rules),
        )
    return [*results, result]


def _notes(
    ws: Workspace,
    found: Checked,
    rules: Schema,
    known: Sequence[Experience],
    made: joining.Batch | None,
) -> tuple[str, ...]:
    """Notes beside the refusals; those of a file that waits come at the end of the ingest."""
    if made is None:
        return found.notes
    return (*found.notes, *joining.notes(ws, rules, known, made, found.new))


def join_waiting(
    ws: Workspace, rules: Schema, known: list[Experience] | None = None
) -> Ingested | None:
    """Make an experience of what waits, where it is enough without another file.

    So it is where files are smaller than `data.join`, where `data.min_rows` was lowered, or where
    two clones each let a file wait.

    Args:
        ws: The workspace.
        rules: The schema.
        known: Every experience; a new one is added. None: they are read where something waits.
    """
    if not experiences.waiting_files(ws, ()):  # no experience is read for it
        return None
    known = list(experiences.list_experiences(ws)) if known is None else known
    made = joining.batch(ws, rules, known)
    if made is None:
        return None
    _begin(ws, experiences.experience_id(experiences.next_number(known), made.sha256))
    notes = joining.notes(ws, rules, known, made)
    last = made.files[-1]
    return Ingested(
        file=last.name,
        outcome="ingested",
        experience=joining.write(ws, made, rules, known).id,
        rows=len(made.frame),
        refused_rows=0,
        joined_rows=len(made.frame) - last.rows,
        notes=notes,
        distinct_rows=made.distinct_rows,
        files=made.file_rows,
    )


def _note_refusal(ws: Workspace, result: Ingested) -> None:
    """Note what people are to be notified of.

    Before the experience is written: killed before that, the file is taken, and noted, again;
    killed after it, the file is known already.
    """
    if ws.config.notify or configured_server.configured(ws.root):
        refusal_notes.write(ws, result, actor())


def _set_aside_rows(
    ws: Workspace, file: Path, found: Checked, rules: Schema, offered: str
) -> str | None:
    """Put the refused rows of a file into quarantine; the folder."""
    files = pictures.refused(file, _names_of(found, rules)) if rules.kind == "image" else ()

    def rows_aside(folder: Path) -> None:
        if len(found.aside):
            experiences.write_aside(folder, found.aside, offered, rules.form)

    return experiences.quarantine(
        ws,
        file,
        found.summary,
        found.refused,
        found.bad_rows,
        by=actor(),
        files=files,
        more=rows_aside,
    ).folder


def _counted(aside: pd.DataFrame, rules: Schema) -> tuple[tuple[Label, int], ...]:
    """The classes of rows that are set aside, with their rows."""
    if not len(aside):
        return ()
    return tuple(sorted(Counter(aside[rules.target.name].tolist()).items()))


def _names_of(found: Checked, rules: Schema) -> list[str]:
    """Names of the refused images."""
    return [str(picture) for picture in found.bad_rows[rules.features[0]]]


def _refuse(ws: Workspace, file: Path, reasons: tuple[str, ...], found: Checked | None) -> Ingested:
    _begin(ws, None)
    rows = found.rows if found else 0
    findings = found.refused if found else None
    record = experiences.quarantine(ws, file, reasons, findings, rows=rows, by=actor())
    result = Ingested(
        file=file.name,
        outcome="quarantined",
        experience=None,
        rows=0,
        refused_rows=rows,
        reasons=reasons,
        folder=record.folder,
        refused_share=1.0,
        notes=found.notes if found else (),
    )
    _note_refusal(ws, result)
    return result


def _refuse_link(ws: Workspace, link: Path) -> Ingested:
    """Refuse links: writing into the inbox must not make Perdure read and push other files."""
    target = os.fsencode(link.readlink())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / link.name).write_bytes(b"a link to " + target + b"\n")
        return _refuse(ws, folder / link.name, ("is a link; the inbox takes files alone",), None)


def _begin(ws: Workspace, experience: str | None) -> None:
    """Say that the data folder is about to differ from what git knows."""
    adding = experiences.unfinished(ws) or ()
    experiences.begin(ws, (*adding, experience) if experience else adding)
