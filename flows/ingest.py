"""Ingest: a file arrives, is checked, and becomes an experience, waits or goes to quarantine."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from perdure import escaping
from perdure.config import Workspace
from perdure.errors import LockHeld, Unreachable
from perdure.flows import accepting, inbox, joining, sharing
from perdure.orchestration import engine, outcomes
from perdure.orchestration.engine import flow, step
from perdure.orchestration.outcomes import Ending
from perdure.orchestration.run_log import note
from perdure.records import DataRevision, Ingest, Ingested
from perdure.tasks import data_versions, experiences, git, locks
from perdure.tasks.tables import schema as schemas
from perdure.workspace import clear_parts, open_workspace

if TYPE_CHECKING:
    pass

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
        taken = [file for file in files if accepting.accept(ws, file, rules, known, results)]
        if made := accepting.join_waiting(ws, rules, known):
            results = joining.made_of(results, made)
        results = joining.still_waiting(ws, rules, known, results)
        results, revision = version(ws, results)
        for file in taken:
            inbox.let_go(ws, file)
        if not files and not settled:  # a person asks, perhaps because of `perdure doctor`
            _push_lacking(ws)
        if made := accepting.join_waiting(ws, rules):  # with what another clone let wait
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
