"""Ingest: a file arrives, is checked, and becomes an experience, waits or goes to quarantine."""

from __future__ import annotations

import logging
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from perdure import escaping
from perdure.config import Workspace
from perdure.errors import DataRefused, LockHeld, Unreachable
from perdure.flows import inbox, joining, sharing
from perdure.flows.inbox import Arrived
from perdure.orchestration import configured_server, engine, outcomes
from perdure.orchestration.engine import flow, step
from perdure.orchestration.outcomes import Ending
from perdure.orchestration.run_log import note
from perdure.records import DataRevision, Experience, Ingest, Ingested
from perdure.records.data import Label, SourceFile
from perdure.tasks import data_versions, experiences, git, locks, refusal_notes
from perdure.tasks.tables import check, content, pictures, read
from perdure.tasks.tables import schema as schemas
from perdure.tasks.tables.check import Checked
from perdure.tasks.tables.refusing import refusing
from perdure.tasks.tables.schema import Schema
from perdure.workspace import actor, clear_parts, open_workspace

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("perdure")

WAIT_FOR_DATA_S = 60.0
"""An ingest is short: the next one waits for it, in seconds, before it gives up."""
WAIT_AS_A_RUN_S = 3600.0
"""The same for a run of the deployment."""


def run(workspace: str, paths: list[str]) -> Ingest:
    """`ingest` as a flow where Prefect is configured, and directly where it is not."""
    return engine.run(ingest, workspace=workspace, paths=paths)


def _ending(result: Ingest) -> Ending:
    """The state of a run that took files, or found none."""
    refused = [one for one in result.files if one.outcome == "quarantined"]
    if refused:
        one, count = refused[0], f"{len(refused)} of {len(result.files)} files"
        return "Refused", f"{count}; {one.file}: {'; '.join(one.reasons) or 'unreadable'}"
    rows = sum(one.rows - one.joined_rows for one in result.files)
    if not rows:
        return "Nothing to do", "There was no new file."
    return "Ingested", f"{len(result.files)} files with {rows:,} rows."


@flow(name="ingest", flow_run_name=engine.run_name("ingest"), ending=_ending)
def ingest(workspace: str = ".", paths: list[str] | None = None, settled: bool = False) -> Ingest:
    """Check files against the schema; make each an experience, or put it into quarantine.

    Files with few rows wait until they make an experience together.

    Args:
        workspace: Folder of the workspace.
        paths: Files, or folders of files, by default the inbox; where the schema is one of
            images, also folders of images by class.
        settled: Whether to leave in the inbox what has changed within `trigger.debounce`.
    """
    ws = open_workspace(workspace)
    # What a person asked Prefect for must not be dropped.
    wait_s = WAIT_AS_A_RUN_S if outcomes.of_a_deployment() else WAIT_FOR_DATA_S
    with locks.hold(ws, "data", "ingest", wait_s=wait_s):
        sharing.update(ws, publishing=True)
        ws = open_workspace(workspace)  # as others may have changed it
        rules = schemas.load(ws.schema, ws.config.data)
        rest_s = ws.config.trigger.debounce if settled else 0.0
        files = inbox.arrived(ws, paths, images=rules.kind == "image", rest_s=rest_s)
        finish(ws)
        known = list(experiences.list_experiences(ws))
        results: list[Ingested] = []
        taken = [file for file in files if accept(ws, file, rules, known, results)]
        if made := _join_waiting(ws, rules, known):
            results = joining.made_of(results, made)
        results = joining.still_waiting(ws, rules, known, results)
        results, revision = version(ws, results)
        for file in taken:
            inbox.let_go(ws, file)
        if not files and not settled:  # a person asks, perhaps because of `perdure doctor`
            _push_lacking(ws)
        if made := _join_waiting(ws, rules):  # with what another clone let wait
            more, revision = version(ws, [made])
            results += more
    for one in results:
        note(f"{one.file}: {one.outcome}, {one.rows} rows, {one.refused_rows} refused")
    engine.report(ws, "ingest", _markdown(results), "What became of each file")
    _tell(ws, results)
    return Ingest(tuple(results), revision, joining.hint(ws, results))


def _tell(ws: Workspace, results: list[Ingested]) -> None:
    """Say that there is something to learn, unless who asked for it learns next.

    Where Prefect does not answer no event is sent; then a watcher sees what is pending.
    """
    new = sum(one.outcome == "ingested" for one in results)
    if new and engine.is_of_its_own():
        from perdure.orchestration import events  # not before it is needed

        events.emit("perdure.data.arrived", ws, {"files": new, "source": "ingest"})


def _note_refusal(ws: Workspace, result: Ingested) -> None:
    """Note what people are to be notified of.

    Before the experience is written: killed before that, the file is taken, and noted, again;
    killed after it, the file is known already.
    """
    if ws.config.notify or configured_server.configured(ws.root):
        refusal_notes.write(ws, result, actor())


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
    if new and joining.stays_alone(ws, own) and (before := _join_waiting(ws, rules, known)):
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
    """What is no refusal; what is said of a file that waits stands only at the end."""
    if made is None:
        return found.notes
    return (*found.notes, *joining.notes(ws, rules, known, made, found.new))


def _join_waiting(
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


def version(ws: Workspace, results: list[Ingested]) -> tuple[list[Ingested], DataRevision]:
    """Give the data folder to DVC, push it, and commit its pointer: one revision for the call.

    Returns:
        The results, with the ids that the experiences have now, and the revision.
    """
    names = [r.experience or f"{r.outcome} {r.file}" for r in results if r.outcome != "known"]
    names = list(dict.fromkeys(names))  # files that were joined have the same experience
    if experiences.unfinished(ws) is not None:
        renamed = record(ws, sharing.message(names))
        results = [_as_recorded(ws, result, renamed) for result in results]
        experiences.done(ws)
    return results, data_revision(ws)


def _as_recorded(ws: Workspace, result: Ingested, renamed: dict[str, str]) -> Ingested:
    """What has become of a file where another clone published data at the same time."""
    if result.experience is None:
        return result
    id_ = renamed.get(result.experience, result.experience)
    if not id_ and result.outcome == "joined":
        waits = "its rows are in an experience of another clone, or wait"
        return replace(result, outcome="waiting", experience=None, notes=(*result.notes, waits))
    if not id_:  # another clone's experience has the rows that it was made with
        rows = result.files[-1].rows
        waits = f"{rows} rows wait; the others are in an experience of another clone"
        return replace(
            result, outcome="waiting", experience=None, rows=rows, joined_rows=0,
            notes=(*result.notes, waits), distinct_rows=None, files=(),
        )  # fmt: skip
    ours = id_ in (experiences.unfinished(ws) or ())
    made = result.outcome in ("ingested", "joined")
    outcome = "known" if made and not ours else result.outcome
    return replace(result, experience=id_, outcome=outcome)


def finish(ws: Workspace) -> None:
    """Finish what an ingest that was cut short had begun. Needs the data lock."""
    clear_parts(ws)
    cut_short = experiences.unfinished(ws)
    if cut_short is not None:
        logger.info("Finishing an ingest that was cut short %s", ", ".join(cut_short))
        experiences.settle(ws)
        record(ws, sharing.message(cut_short))
        experiences.done(ws)
        _push_lacking(ws)


def _push_lacking(ws: Workspace) -> None:
    """Push what a kill kept from the DVC remote, and what DVC takes for present all the same."""
    try:
        lacking = data_versions.push_lacking(ws)
    except Unreachable as error:  # all is recorded here, and doctor looks again
        logger.warning("The DVC remote was not compared with the data: %s", error.message)
        return
    if lacking:
        logger.warning("The DVC remote lacked %d files of the data; pushed.", len(lacking))


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


def record(ws: Workspace, message: str) -> dict[str, str]:
    """Record the data folder; what the experiences are called now, where others were faster.

    Needs the data lock.
    """
    renamed: dict[str, str] = {}
    experiences.clear_joined(ws)
    if ws.config.shared.git_remote is not None:
        renamed = sharing.publish(ws, message)
    else:
        add = step(data_versions.add_and_push, name="dvc add and push", retries=2)
        add(ws, experiences.replaced(ws))
        step(git.commit, name="git commit")(ws.root, data_versions.files(ws), message)
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
        f"| {escaping.markdown(r.file)} | {r.outcome} | {r.experience or ''} | {r.rows} "
        f"| {r.refused_rows} |"
        for r in results
    ]
    reasons = [
        f"- {escaping.markdown(f'{r.file}: {reason}')}" for r in results for reason in r.reasons
    ]
    return "\n".join([*lines, "", *reasons])
