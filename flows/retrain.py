"""Retrain: learn every pending experience, one after the other."""

from __future__ import annotations

import importlib
import logging
import shutil
from pathlib import Path

from perdure import arrival_table
from perdure.config import Workspace
from perdure.errors import Fault
from perdure.flows import ingest, model_lock, prefect_engine
from perdure.flows.learn import learn
from perdure.flows.line import settle
from perdure.flows.pending import pending
from perdure.flows.prefect_engine import flow
from perdure.flows.service import approvals
from perdure.flows.telling import telling
from perdure.flows.workspace import clear_scratch, open_workspace
from perdure.progress import track
from perdure.records import Experience, Learned, Retrained
from perdure.tasks.registry import Registry

logger = logging.getLogger("perdure")


def run(workspace: str, profile: bool = False) -> Retrained:
    """`retrain` as a flow: on the configured Prefect server, or on a temporary one."""
    ws = open_workspace(workspace, strategies=True)
    with track("starting", 1):
        prefect_engine.start_early(workspace)
        if pending(ws, Registry(ws).read()):
            # Avalanche takes seconds to import, a temporary server to start: both at once.
            importlib.import_module("perdure.strategies.training.engine")
    with telling(workspace):
        return prefect_engine.run_with_server(retrain, workspace=workspace, profile=profile)


@flow(name="retrain", flow_run_name=prefect_engine.run_name("retrain"))
def retrain(
    workspace: str = ".", profile: bool = False, inbox: bool = False, min_rows: int = 0
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

    Raises:
        LockHeld: Another process works on this model.
    """
    ws = open_workspace(workspace, strategies=True)
    if inbox:
        prefect_engine.run(ingest.ingest, workspace=str(ws.root), settled=True)
    with model_lock.hold(ws, "retrain"):
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
                prefect_engine.run(learn, workspace, waiting[0].id, str(place) if place else None)
            )
            # What was registered before is not trained again, and leaves no trace.
            traced = place if place is not None and place.is_dir() else traced
        now = registry.read()
    if prefect_engine.in_flow_run():
        approvals.settle(ws, again=True)
    if profile and traced is None:
        logger.warning("Nothing was trained, so there is no profile.")
    prefect_engine.report(_markdown(learned), "retrain")
    return Retrained(
        tuple(learned),
        champion=now.champion.version if now.champion else None,
        challenger=now.challenger.version if now.challenger else None,
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


def _markdown(learned: list[Learned]) -> str:
    if not learned:
        return "Nothing was pending."
    lines = ["| experience | version | verdict | champion moved |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(_cells(one))} |" for one in learned]
    return "\n".join(lines)


def _cells(one: Learned) -> tuple[str, str, str, str]:
    """A row of the page; what moved the model, or is broken, has no version of its own."""
    shown = one.arrival
    if one.version is not None or shown is None:
        return one.experience, str(one.version or ""), one.verdict, "yes" if one.promoted else ""
    moved = "yes" if shown.action != "held" and shown.version != shown.champion else ""
    return one.experience, str(shown.version or ""), arrival_table.outcome(shown), moved
