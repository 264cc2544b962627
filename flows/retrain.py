"""Retrain: learn every pending experience, one after the other."""

from __future__ import annotations

import importlib
import logging
import shutil
from pathlib import Path

from perdure import arrival_table, escaping
from perdure.config import Workspace
from perdure.errors import Fault
from perdure.flows import ingest, pages, prune
from perdure.flows.learn import learn
from perdure.flows.line import settle
from perdure.flows.opening import open_to_learn
from perdure.flows.pending import pending
from perdure.orchestration import approvals, engine, model_lock, rollback_form
from perdure.orchestration.engine import flow
from perdure.orchestration.outcomes import Ending
from perdure.progress import track
from perdure.records import Experience, Learned, Retrained
from perdure.tasks.registry import Registry
from perdure.workspace import clear_scratch

logger = logging.getLogger("perdure")


def run(workspace: str, profile: bool = False, wait: float = 0.0) -> Retrained:
    """`retrain` as a flow: on the configured Prefect server, or on a temporary one."""
    ws = open_to_learn(workspace)
    with track("starting", 1):
        if not pending(ws, Registry(ws).read()):
            # That needs no server.
            return engine.run(retrain, workspace=workspace, profile=profile, wait=wait)
        # Avalanche takes seconds to import, a temporary server to start: both at once.
        engine.start_early(workspace)
        importlib.import_module("perdure.strategies.training.engine")
    return engine.run_with_server(retrain, workspace=workspace, profile=profile, wait=wait)


def _ending(result: Retrained) -> Ending:
    """The state of a run that learned, or had nothing to learn."""
    if not result.learned:
        return "Nothing to do", "No experience is pending."
    count = f"{len(result.learned)} experience{'s' if len(result.learned) > 1 else ''} learned"
    kept = [one for one in result.learned if one.kept_back]
    if any(one.promoted for one in result.learned):
        more = f"; {len(kept)} held" if kept else ""
        return "Promoted", f"Version {result.champion} serves: {count}{more}."
    if not kept:
        return "Learned", f"{count}; version {result.champion or 'none'} serves."
    name = "Refused" if any(one.verdict == "refused" for one in kept) else "Held"
    return name, f"{kept[-1].experience}: {kept[-1].reasons[0]}"


@flow(
    name="retrain",
    flow_run_name=engine.run_name("retrain"),
    ending=_ending,
    skips=True,
)
def retrain(
    workspace: str = ".",
    profile: bool = False,
    inbox: bool = False,
    min_rows: int = 0,
    wait: float = 0.0,
) -> Retrained:
    """Learn every experience that the challenger has not seen, in order of arrival.

    Each first measures the versions that might serve; one that is shown to be better takes the
    champion's place. Nothing pending is a good end. Killed anywhere, the next retraining goes on
    from what the registry holds.

    Args:
        workspace: Folder of the workspace.
        profile: Whether to trace some training steps of the first experience that is learned.
        inbox: Whether to ingest first what waits in the inbox, and has not changed for
            `trigger.debounce`.
        min_rows: Learn nothing while the pending experiences have fewer rows together.
        wait: How many seconds to wait where another process works on the model.

    Raises:
        LockHeld: Another process works on this model.
    """
    ws = open_to_learn(workspace)
    if inbox:
        engine.run(ingest.ingest, workspace=str(ws.root), settled=True)
    with model_lock.hold(ws, "retrain", wait_s=wait):
        registry = Registry(ws)
        settle(registry)
        clear_scratch(ws)
        if not ingest.complete(ws):
            logger.info("An ingest is at work; what it brings is learned next time.")
        learned: list[Learned] = []
        traced: Path | None = None
        while waiting := _enough(pending(ws, registry.read()), 0 if learned else min_rows):
            latest = learned[-1] if learned else None
            if latest and latest.experience == waiting[0].id and latest.verdict != "postponed":
                raise Fault(f"experience {waiting[0].id} is still pending after it was learned")
            place = _profile_of(ws, waiting[0].id) if profile and traced is None else None
            learned.append(
                engine.run(learn, workspace, waiting[0].id, str(place) if place else None)
            )
            # What was registered before is not trained again, and leaves no trace.
            traced = place if place is not None and place.is_dir() else traced
        if learned:
            prune.after_retraining(ws, registry)
        now = registry.read()
    if engine.in_flow_run():
        approvals.settle(ws, again=True)
        rollback_form.refresh(ws)
    if profile and traced is None:
        logger.warning("Nothing was trained, so there is no profile.")
    engine.report(ws, "retrain", _markdown(ws, learned), "What was learned, and what it changed")
    return Retrained(
        tuple(learned),
        champion=now.champion.version if now.champion else None,
        challenger=now.challenger.version if now.challenger else None,
        metric=ws.config.metric,
        profile=str(traced) if traced else None,
    )


def _enough(waiting: tuple[Experience, ...], least: int) -> tuple[Experience, ...]:
    """What is pending; nothing, where that is too few rows to begin with."""
    rows = sum(one.rows for one in waiting)
    if waiting and rows < least:
        logger.info("%d rows are pending; a retraining waits for %d.", rows, least)
        return ()
    return waiting


def _profile_of(ws: Workspace, experience: str) -> Path:
    """Where the profile of an experience's training goes; nothing is there yet."""
    place = ws.state / "profiles" / experience
    shutil.rmtree(place, ignore_errors=True)
    return place


def _markdown(ws: Workspace, learned: list[Learned]) -> str:
    if not learned:
        return "Nothing was pending."
    lines = [
        f"| experience | version | verdict | champion moved | {ws.config.metric} | reason |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(_cells(ws, one))} |" for one in learned]
    return "\n".join(lines)


def _cells(ws: Workspace, one: Learned) -> tuple[str, ...]:
    """A row of the page; what moved the model, or is broken, has no version of its own."""
    shown, metric = one.arrival, ws.config.metric
    measured = "" if one.average is None else f"{one.average[metric]:.4f}"
    reason = escaping.markdown(one.reasons[0]) if one.reasons else ""
    if one.version is not None or shown is None:
        moved = "yes" if one.promoted else ""
        version = pages.version(ws, one.version) if one.version is not None else ""
        return one.experience, version, one.verdict, moved, measured, reason
    moved = "yes" if shown.action != "held" and shown.version != shown.champion else ""
    version = pages.version(ws, shown.version) if shown.version else ""
    return one.experience, version, arrival_table.outcome(shown), moved, measured, reason
