"""Ingest: a file arrives, is checked, and becomes an experience or goes to quarantine."""

from __future__ import annotations

import logging
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from perdure.config import Workspace
from perdure.errors import DataRefused, LockHeld
from perdure.flows import inbox, prefect_engine, sharing
from perdure.flows.inbox import Arrived
from perdure.flows.prefect_engine import flow, step
from perdure.flows.workspace import clear_parts, open_workspace, who
from perdure.records import DataRevision, Experience, Ingest, Ingested
from perdure.records.data import Aside, Joined, Label
from perdure.tasks import data_versions, experiences, git, locks
from perdure.tasks.tables import check, content, pictures, read
from perdure.tasks.tables import schema as schemas
from perdure.tasks.tables.check import Checked
from perdure.tasks.tables.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("perdure")

WAIT_FOR_DATA_S = 60.0
"""An ingest is short: the next one waits for it, in seconds, before it gives up."""


def run(workspace: str, paths: list[str]) -> Ingest:
    """`ingest` as a flow where Prefect is configured, and directly where it is not."""
    return prefect_engine.run(ingest, workspace=workspace, paths=paths)


@flow(name="ingest", flow_run_name=prefect_engine.run_name("ingest"))
def ingest(workspace: str = ".", paths: list[str] | None = None, settled: bool = False) -> Ingest:
    """Check files against the schema; make each an experience, or put it into quarantine.

    Args:
        workspace: Folder of the workspace.
        paths: Files, or folders of files, by default the inbox; where the schema is one of
            images, also folders of images by class.
        settled: Whether to leave in the inbox what has changed within `trigger.debounce`.
    """
    ws = open_workspace(workspace)
    with locks.hold(ws, "data", "ingest", wait_s=WAIT_FOR_DATA_S):
        sharing.update(ws, publishing=True)
        ws = open_workspace(workspace)  # as others may have changed it
        rules = schemas.load(ws.schema, ws.config.data)
        rest_s = ws.config.trigger.debounce if settled else 0.0
        files = inbox.arrived(ws, paths, images=rules.kind == "image", rest_s=rest_s)
        finish(ws)
        known = list(experiences.list_experiences(ws))
        taken = [(file, one) for file in files if (one := accept(ws, file, rules, known))]
        results, revision = version(ws, [one for _, one in taken])
        for file, _ in taken:
            inbox.let_go(ws, file)
    prefect_engine.report(_markdown(results), "ingest")
    _tell(ws, results)
    _tell_refusals(ws)
    return Ingest(tuple(results), revision)


def _tell(ws: Workspace, results: list[Ingested]) -> None:
    """Say that there is something to learn, unless who asked for it learns next.

    Where Prefect does not answer nobody is told; then a watcher sees what is pending.
    """
    new = sum(one.outcome == "ingested" for one in results)
    if new and prefect_engine.is_of_its_own():
        from perdure.flows.service import events  # not before it is needed

        events.emit("perdure.data.arrived", ws, {"files": new, "source": "ingest"})


def _note_refusal(ws: Workspace, result: Ingested) -> None:
    """Note what people are to be notified of.

    Before the experience is written: killed before that, the file is taken, and noted, again;
    killed after it, the file is known already.
    """
    if result.refused_share:
        from perdure.flows.service import refusals  # not before it is needed

        refusals.note(ws, result, who())


def _tell_refusals(ws: Workspace) -> None:
    """Send the notices of refused files, also those of an ingest that was killed."""
    if ws.config.notify:
        from perdure.flows.service import refusals  # not before it is needed

        refusals.tell(ws)


def accept(
    ws: Workspace, arrived: Arrived, rules: Schema, known: list[Experience]
) -> Ingested | None:
    """Read and check one file, and write what was accepted and what was refused.

    Nothing is versioned yet, and the file stays where it is: cut short here, it is simply
    ingested again.

    Args:
        ws: The workspace.
        arrived: The file.
        rules: The schema.
        known: Every experience so far; a new one is added.

    Returns:
        What has become of it; None: it is left in the inbox for the next time.
    """
    file = arrived.path
    if inbox.is_foreign(ws, file):
        return _refuse_link(ws, file)
    if inbox.is_unreadable(ws, file):
        return None
    try:
        found = _check(ws, file, rules, known)
        wrong = (*found.whole, *found.summary) if found.whole else ()
    except DataRefused as refusal:
        found, wrong = None, (refusal.message,)
    if inbox.has_changed(ws, arrived):
        return None
    if found is None or wrong:
        return _refuse(ws, file, wrong, found)
    return _take(ws, file, found, rules, known)


def _check(ws: Workspace, file: Path, rules: Schema, known: Sequence[Experience]) -> Checked:
    """Check one file, with what earlier files say of new classes."""
    frame = read.read(file, rules)
    labels = experiences.labels_of(known)
    gathered = experiences.counts(_waiting(ws, rules, known))

    def look() -> Checked:
        return step(check.check, name=f"check {file.name}")(
            frame, rules, ws.config.data.min_rows, labels, gathered
        )

    found = look()
    if len(found.aside):  # a class is no news where an experience of an older version has it
        target = rules.target.name
        older = experiences.labels_found(known, target, set(found.aside[target].tolist()))
        labels |= older
        found = look() if older else found
    return found


def _waiting(ws: Workspace, rules: Schema, known: Sequence[Experience]) -> tuple[Aside, ...]:
    """Rows of new classes that earlier files brought and that joined no experience yet."""
    if rules.task == "regression":
        return ()
    return experiences.gathered(ws, known, rules.form)


def _joining(
    waiting: Sequence[Aside], found: Checked, rules: Schema, known: Sequence[Experience]
) -> set[Label]:
    """The classes whose rows join: let in by now, by the schema or by their number."""
    target = rules.target
    if not isinstance(target, schemas.ClassTarget):
        return set()
    labels: set[Label] = set(target.classes)
    if target.new_classes == "allow":
        counts = experiences.counts(waiting)
        enough = {label for label, rows in counts.items() if rows >= target.min_class_rows}
        labels |= enough | set(found.new) | experiences.labels_of(known)
    return labels


def _take(
    ws: Workspace, file: Path, found: Checked, rules: Schema, known: list[Experience]
) -> Ingested:
    brought = content.content_sha256(found.accepted)
    offered = content.content_sha256(found.offered) if len(found.aside) else brought
    # A file that arrives again offers the same, whichever classes were let in meanwhile.
    same = experiences.find(known, offered, brought)
    frame, sha256 = found.accepted, brought
    joined: tuple[Joined, ...] = ()
    if same is None:
        waiting = _waiting(ws, rules, known)
        labels = _joining(waiting, found, rules, known)
        frame, joined = experiences.join(frame, waiting, labels, rules.target.name)
        sha256 = content.content_sha256(frame) if joined else brought
    number = same.number if same else experiences.next_number(known)
    name = same.id if same else experiences.experience_id(number, sha256)
    if same is None or len(found.bad_rows):
        _begin(ws, name if same is None else None)
    folder = None
    if len(found.bad_rows):
        folder = _set_aside_rows(ws, file, found, rules, offered)
    rows = sum(one.rows for one in joined)
    more = [f"{one.label!r}" for one in joined if one.label not in found.new]
    result = Ingested(
        file=file.name,
        outcome="known" if same else "ingested",
        experience=name,
        rows=len(frame),
        refused_rows=len(found.bad_rows),
        reasons=found.summary,
        folder=folder,
        refused_share=len(found.bad_rows) / found.rows,
        joined_rows=rows,
        notes=(*found.notes, *_joined_note(more, joined)) if same is None else (),
    )
    if same is None:
        _note_refusal(ws, result)
        known.append(
            experiences.write_experience(
                ws,
                number,
                frame,
                sha256,
                file.name,
                rules.sha256,
                offered=offered,
                aside=_counted(found.aside, rules),
                joined=joined,
                classes=_unlisted(frame, rules),
            )
        )
    return result


def _joined_note(labels: Sequence[str], joined: Sequence[Joined]) -> tuple[str, ...]:
    """What joined although the file itself brought nothing new."""
    if not labels:
        return ()
    rows = sum(one.rows for one in joined if repr(one.label) in labels)
    named = ", ".join(dict.fromkeys(labels))
    return (f"rows set aside from earlier files joined: {rows} of {named}",)


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
        by=who(),
        files=files,
        more=rows_aside,
    ).folder


def _counted(aside: pd.DataFrame, rules: Schema) -> list[tuple[Label, int]]:
    """The classes of rows that are set aside, with their rows."""
    return sorted(Counter(aside[rules.target.name].tolist()).items()) if len(aside) else []


def _unlisted(frame: pd.DataFrame, rules: Schema) -> list[Label]:
    """The classes of rows that the schema does not list."""
    if not isinstance(rules.target, schemas.ClassTarget):
        return []
    return sorted(set(frame[rules.target.name].tolist()) - set(rules.target.classes))


def _names_of(found: Checked, rules: Schema) -> list[str]:
    """Names of the refused images."""
    return [str(picture) for picture in found.bad_rows[rules.features[0]]]


def _refuse(ws: Workspace, file: Path, reasons: tuple[str, ...], found: Checked | None) -> Ingested:
    _begin(ws, None)
    rows = found.rows if found else 0
    findings = found.refused if found else None
    record = experiences.quarantine(ws, file, reasons, findings, rows=rows, by=who())
    result = Ingested(
        file=file.name,
        outcome="quarantined",
        experience=None,
        rows=0,
        refused_rows=rows,
        reasons=reasons,
        folder=record.folder,
        refused_share=1.0,
    )
    _note_refusal(ws, result)
    return result


def _refuse_link(ws: Workspace, link: Path) -> Ingested:
    """Whoever may write into the inbox must not have any file of the machine read or pushed."""
    target = os.fsencode(link.readlink())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / link.name).write_bytes(b"a link to " + target + b"\n")
        return _refuse(ws, folder / link.name, ("is a link; the inbox takes files alone",), None)


def _begin(ws: Workspace, experience: str | None) -> None:
    """Say that the data folder is about to differ from what git knows."""
    adding = experiences.unfinished(ws) or ()
    experiences.begin(ws, (*adding, experience) if experience else adding)


def version(ws: Workspace, results: list[Ingested]) -> tuple[list[Ingested], DataRevision]:
    """Give the data folder to DVC, push it, and commit its pointer: one revision for the call.

    Returns:
        The results, with the ids that the experiences have now, and the revision.
    """
    names = [r.experience or f"quarantined {r.file}" for r in results if r.outcome != "known"]
    if experiences.unfinished(ws) is not None:
        renamed = _record(ws, names)
        results = [_as_recorded(ws, result, renamed) for result in results]
        experiences.done(ws)
    return results, data_revision(ws)


def _as_recorded(ws: Workspace, result: Ingested, renamed: dict[str, str]) -> Ingested:
    """What has become of a file where another clone published data at the same time."""
    id_ = renamed.get(result.experience or "", result.experience)
    ours = id_ in (experiences.unfinished(ws) or ())
    outcome = result.outcome if ours or result.outcome != "ingested" else "known"
    return replace(result, experience=id_, outcome=outcome)


def finish(ws: Workspace) -> None:
    """Finish what an ingest that was cut short had begun. Needs the data lock."""
    clear_parts(ws)
    cut_short = experiences.unfinished(ws)
    if cut_short is not None:
        logger.info("Finishing an ingest that was cut short %s", ", ".join(cut_short))
        _record(ws, cut_short)
        experiences.done(ws)


def complete(ws: Workspace) -> bool:
    """Bring the data up to date, and finish what an ingest that was cut short had begun.

    Returns:
        Whether it is; not, where an ingest is at work just now.

    Raises:
        UsageError: Commits or files of the user's are in the way.
        Unreachable: A remote does not answer.
    """
    shared = ws.config.shared.git_remote is not None
    wait = WAIT_FOR_DATA_S if shared or data_versions.missing(ws) else 0.0
    try:
        with locks.hold(ws, "data", "bring the data up to date", wait_s=wait):
            sharing.update(ws, publishing=experiences.unfinished(ws) is not None)
            finish(ws)
    except LockHeld:
        return False
    return True


def _record(ws: Workspace, names: Sequence[str]) -> dict[str, str]:
    """Record the data folder; what the experiences are called now, where others were faster."""
    renamed: dict[str, str] = {}
    if ws.config.shared.git_remote is not None:
        renamed = sharing.publish(ws, sharing.message(names))
    else:
        step(data_versions.add_and_push, name="dvc add and push", retries=2)(ws)
        step(git.commit, name="git commit")(
            ws.root, data_versions.files(ws), sharing.message(names)
        )
    data_versions.note(ws)
    return renamed


def data_revision(ws: Workspace) -> DataRevision:
    """Which state of the data the workspace is at."""
    return DataRevision(
        git=git.last_commit_of(ws.root, data_versions.pointer(ws)), dvc=data_versions.revision(ws)
    )


def _markdown(results: list[Ingested]) -> str:
    lines = ["| file | outcome | experience | rows | refused |", "|---|---|---|---|---|"]
    lines += [
        f"| {r.file} | {r.outcome} | {r.experience or ''} | {r.rows} | {r.refused_rows} |"
        for r in results
    ]
    reasons = [f"- {r.file}: {reason}" for r in results for reason in r.reasons]
    return "\n".join([*lines, "", *reasons])
