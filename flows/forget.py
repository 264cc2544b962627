"""Forget: rows leave the data and every model that learned from them; it learns anew."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from perdure import atomic
from perdure.config import Workspace
from perdure.errors import Fault, LockHeld, Refusal, UsageError
from perdure.flows import decisions, ingest, removal
from perdure.flows import retrain as retraining
from perdure.flows.inbox import arrived
from perdure.flows.line import line, settle
from perdure.flows.searching import Found, search
from perdure.orchestration import engine, model_lock
from perdure.orchestration.engine import step
from perdure.records import Registered, Version, to_json
from perdure.records.forgetting import Forgotten, FoundIn
from perdure.secrets import without_secrets
from perdure.tasks import experiences, locks, trained
from perdure.tasks.data_versions import unused
from perdure.tasks.experiences import replacing
from perdure.tasks.registry import Registry
from perdure.tasks.registry.codec import ALIASES
from perdure.tasks.tables import content, finding, read
from perdure.tasks.tables import schema as schemas
from perdure.tasks.tables.finding import Wanted
from perdure.workspace import actor, clear_scratch, open_workspace

logger = logging.getLogger("perdure")

RECEIPTS = "forgotten"
"""Folder of the receipts, in the state folder."""


def forget(
    workspace: str,
    where: str | None,
    rows: str | None,
    reason: str,
    apply: bool = False,
    wait: float = 0.0,
) -> Forgotten:
    """Take rows out of the data and out of the model, and learn the model again without them.

    Killed anywhere, the same command does the rest.

    Args:
        workspace: Folder of the workspace.
        where: A condition on the columns.
        rows: Or a table with some of the columns: rows that are equal in all of these.
        reason: Goes into the history and the receipt.
        apply: Whether to do it; else it is only said what would be done.
        wait: How many seconds to wait where another process works on the model.

    Returns:
        What was found where, and what was done.

    Raises:
        UsageError: What is asked for is no condition on the columns.
        DataRefused: The file of rows cannot be read.
        LockHeld: Another process works on this model, or ingests.
        Refusal: A version that learned from the rows has an alias of a person's in MLflow.
    """
    ws = open_workspace(workspace)
    wanted = _wanted(ws, where, rows)
    registry = Registry(ws)
    if not apply:
        return _planned(ws, registry.read(), registry, wanted, reason)
    engine.run(ingest.ingest, workspace=str(ws.root))
    with model_lock.hold(ws, "forget", wait_s=wait):
        if not ingest.complete(ws):
            raise Fault("an ingest is at work; nothing was changed", hint="run it again then")
        now = settle(registry)
        result = _apply(ws, registry, now, wanted, reason)
    if result.pending:
        _learn_again(ws)
    return result


def _learn_again(ws: Workspace) -> None:
    """Learn what is pending; where another process has just begun to, that does it."""
    try:
        engine.run(retraining.retrain, workspace=str(ws.root))
    except LockHeld as error:
        logger.warning("What is pending is learned elsewhere: %s", error.message)


def _wanted(ws: Workspace, where: str | None, rows: str | None) -> Wanted:
    schema = schemas.load(ws.schema, ws.config.data)
    if (where is None) == (rows is None):
        raise UsageError("one of --where and --rows is needed", hint="perdure forget --help")
    if where is not None:
        return finding.by_condition(where, schema)
    assert rows is not None
    if schema.kind == "image":  # the same pictures, whatever their label was
        pictures = read.read(Path(rows), schema).frame
        return finding.by_rows(pictures[list(schema.features)], schema)
    return finding.by_rows(read.read_table(rows), schema)


def _planned(
    ws: Workspace,
    now: Registered,
    registry: Registry,
    wanted: Wanted,
    reason: str,
    found: Found | None = None,
) -> Forgotten:
    """What would be done."""
    found = found or search(ws, wanted)
    names = replacing.plan(ws, found.experiences, content.content_sha256)
    versions = (*registry.versions(), *registry.removing())
    learned = {one.version for one in versions if names.keys() & set(one.cursor)}
    champion, challenger = (
        _before(registry, one, learned) for one in (now.champion, now.challenger)
    )
    seen = set(challenger.cursor) if challenger else set()
    inbox = arrived(ws, None, images=schemas.load(ws.schema, ws.config.data).kind == "image")
    return Forgotten(
        done=False,
        at=decisions.utc_now(),
        by=actor(),
        reason=reason,
        wanted_sha256=_digest(wanted),
        experiences=tuple(
            FoundIn(one.id, int(rows.sum()), one.rows, names[one.id] or None)
            for one, rows in found.experiences
        ),
        waiting=tuple(
            FoundIn(one.file.name, int(rows.sum()), one.file.rows) for one, rows in found.waiting
        ),
        quarantine=found.quarantine,
        versions=tuple(sorted(learned)),
        champion=champion.version if champion else None,
        challenger=challenger.version if challenger else None,
        pending=sum(
            names.get(one.id, one.id) != "" and one.id not in now.held and one.id not in seen
            for one in experiences.committed(ws)
        ),
        inbox=len(inbox),
        by_hand=_by_hand(ws, found),
    )


def _digest(wanted: Wanted) -> str:
    """A digest of what was asked for."""
    if wanted.condition is not None:
        return hashlib.sha256(wanted.condition.text.encode()).hexdigest()
    assert wanted.keys is not None
    return hashlib.sha256(wanted.keys.tobytes()).hexdigest()


def _before(registry: Registry, version: Version | None, learned: set[int]) -> Version | None:
    """A version, or the nearest one that it goes on from and that never saw the rows."""
    if version is None or version.version not in learned:
        return version
    for number in line(registry, version):
        if number not in learned:
            try:
                return registry.version(number)
            except UsageError:  # it was removed
                return None
    return None


def _by_hand(ws: Workspace, found: Found) -> tuple[str, ...]:
    """What is left to do in places that Perdure does not reach."""
    left = [
        f"{one}; it could not be searched: look at it, delete the folder, and run this again"
        for one in found.unread
    ]
    left += [
        f"schema.toml lists words of the column {name!r} that no other row has: take them out"
        for name in found.words
    ]
    if found.quarantine:
        left.append(
            "the logs of perdure up, Prefect's pages and notices may show values of refused rows: "
            "perdure down, then delete .perdure/up"
        )
    if ws.config.shared.git_remote is not None:
        left.append(
            "every other clone: perdure ingest, then dvc gc --workspace --force; and where nobody "
            "needs older data, dvc gc --workspace --cloud --force"
        )
    left += [
        f"files in {without_secrets(folder)} that came from there: delete them yourself"
        for folder in ws.config.trigger.folders
    ]
    if found.experiences or found.waiting or found.quarantine:
        left.append("backups that were made before: delete them, and perdure backup")
    return tuple(left)


def _apply(
    ws: Workspace, registry: Registry, now: Registered, wanted: Wanted, reason: str
) -> Forgotten:
    """Do it: the models first, for what they learned from is known as long as the rows are there.

    Needs the model's lock.
    """
    with locks.hold(ws, "data", "forget", wait_s=ingest.WAIT_FOR_DATA_S):
        found = search(ws, wanted)
        result = _planned(ws, now, registry, wanted, reason, found)
        _models(ws, registry, now, result)
        _data(ws, found, {one.place: one.becomes or "" for one in result.experiences})
        again = search(ws, wanted)
        if again.experiences or again.waiting:
            raise Fault(
                "another clone published data at the same time, and the rows with it",
                hint="run this command again",
            )
        remote = unused.drop(ws)
    trained.clear(ws)
    clear_scratch(ws)
    left = f"the DVC remote {remote}: dvc gc --workspace --cloud --force, once all clones have this"
    by_hand = (*result.by_hand, left) if remote else result.by_hand
    return _receipt(ws, replace(result, done=True, by_hand=by_hand))


def _models(ws: Workspace, registry: Registry, now: Registered, result: Forgotten) -> None:
    """Move the aliases away from the versions that learned from the rows, and remove these.

    Raises:
        Refusal: A person gave one of them an alias in MLflow; nothing was changed.
        Fault: Not all of their files could be removed. The rows are still in the data: or else
            nothing would tell which versions these are.
    """
    renamed = {one.place: one.becomes or "" for one in result.experiences}
    learned = frozenset(result.versions)
    for alias, number in registry.aliases().items():
        if number in learned and alias not in ALIASES:
            raise Refusal(
                f"version {number} learned from these rows, and has the alias {alias} in MLflow; "
                "nothing was changed",
                hint="remove the alias there, and run this command again",
            )
    if renamed:
        registry.remove_leftovers(renamed.keys())
    if not learned and not renamed.keys() & now.held.keys():
        return
    champion, challenger = (
        None if number is None else registry.version(number)
        for number in (result.champion, result.challenger)
    )
    step(registry.apply, name="move the aliases", retries=2)(
        decisions.forgotten(now, champion, challenger, learned, renamed, result.reason, actor())
    )
    done = removal.remove(ws, registry, dict.fromkeys(result.versions, result.reason), "forget")
    if left := {**done.kept, **done.left}:
        why = "; ".join(f"version {number}: {what}" for number, what in left.items())
        raise Fault(
            f"not every version that learned from these rows could be removed: {why}",
            hint="mend that, and run this command again; the rows are still in the data",
        )


def _data(ws: Workspace, found: Found, renamed: dict[str, str]) -> None:
    """Take the rows out of the data folder, and record it. Needs the data lock."""
    digest = content.content_sha256
    replacing.write(ws, found.experiences, renamed, digest)
    for one, rows in found.waiting:
        frame = experiences.read_waiting(one, digest)
        replacing.write_waiting(ws, one, frame[~rows].reset_index(drop=True), digest)
    for folder in found.quarantine:
        shutil.rmtree(ws.root / folder.place)
    ingest.record(ws, "forget rows")
    experiences.done(ws)


def _receipt(ws: Workspace, result: Forgotten) -> Forgotten:
    place = ws.state / RECEIPTS
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{datetime.fromisoformat(result.at):%Y-%m-%dT%H%M%S.%f}.json"
    result = replace(result, receipt=path.relative_to(ws.root).as_posix())
    value = {**to_json(result), "rows": result.rows}
    atomic.write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    return result
