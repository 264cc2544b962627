"""Learn one experience: a transaction on the learner.

The registry is the checkpoint. Whatever is cut short here is found by its learning key, and
done again from there.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from perdure.config import Workspace
from perdure.errors import DataRefused
from perdure.flows import arrival, decisions, measuring, prefect_engine
from perdure.flows.ingest import data_revision
from perdure.flows.pending import get
from perdure.flows.prefect_engine import flow, step
from perdure.flows.workspace import open_workspace, scratch, who
from perdure.records import (
    Arrival,
    Change,
    Drift,
    Evaluation,
    Experience,
    Learned,
    Registered,
    Trained,
    Version,
)
from perdure.tasks import drift, figures, gates, git, packaging, training
from perdure.tasks.registry import Registry
from perdure.tasks.tables import schema as schemas

if TYPE_CHECKING:
    from perdure.strategies.features.columns import FeatureSpec

logger = logging.getLogger("perdure")


@flow(name="learn", flow_run_name="learn {experience}")
def learn(workspace: str, experience: str, profile: str | None = None) -> Learned:
    """Train the challenger's learner on one experience, judge the result, and register it.

    Before anything learns from it, the experience measures who might serve. That may move the
    champion, or hold the experience as broken: then nothing is learned yet, and the caller goes
    on with what is pending now.

    Passed: the challenger moves, and with automatic promotion the champion. Refused: the
    aliases stay, the experience is held with the reasons, and the version becomes a contender.
    The caller holds the lock.

    Args:
        workspace: Folder of the workspace.
        experience: Id of a pending experience.
        profile: A folder for a profile of some training steps.
    """
    ws = open_workspace(workspace, strategies=True)
    registry = Registry(ws)
    now = registry.read()
    with scratch(ws) as folder:
        try:
            found = get(ws, experience)
            lesson = _lesson(ws, registry, now, found)
            shown, measured = now.tournament.latest, None
            if arrival.is_news(now, found):
                shown, change = step(arrival.arrive, name="measure who might serve")(
                    ws, registry, now, found, lesson.schema, lesson.rows, lesson.drift, who()
                )
                step(registry.apply, name="keep the evidence", retries=2)(change)
                if shown.action != "none":
                    return _moved(lesson, shown, change)
                measured, now = shown, registry.read()
            if shown is not None and shown.experience != experience:
                shown = None
            version, evaluation = _candidate(
                ws, registry, now, lesson, shown, folder, Path(profile) if profile else None
            )
        except DataRefused as refusal:
            step(registry.apply, name="hold the experience", retries=2)(
                decisions.unlearnable(experience, refusal.message, who())
            )
            return Learned(experience, None, "refused", (refusal.message,), False, None, None, None)
        verdict = gates.judge(evaluation, ws.config.gates)
        automatic = ws.config.promotion.automatic
        change = (
            decisions.passed(now, version, verdict, automatic, who(), ws.config.tournament)
            if verdict.passed
            else decisions.refused(now, version, verdict, who())
        )
        what = "promote" if verdict.passed else "hold the experience"
        step(registry.apply, name=what, retries=2)(change)
    prefect_engine.report(
        measuring.markdown(experience, version.version, evaluation, verdict), "learn"
    )
    return Learned(
        experience=experience,
        version=version.version,
        verdict=verdict.answer,
        reasons=verdict.refusals,
        promoted=verdict.passed and automatic,
        prequential=evaluation.prequential,
        average=evaluation.candidate.average,
        forgetting=evaluation.forgetting,
        arrival=measured,
        drift=evaluation.drift,
    )


@dataclass(frozen=True, eq=False)
class _Lesson:
    """An experience's rows, and the models that stand."""

    experience: Experience
    schema: FeatureSpec
    """The features and the target, with the schema's labels."""
    spec: FeatureSpec
    """The same, with the labels of the challenger and the experience."""
    rows: measuring.Rows
    parent: Path | None
    """Version folder of the challenger."""
    champion: Path | None
    drift: Drift | None


def _lesson(ws: Workspace, registry: Registry, now: Registered, experience: Experience) -> _Lesson:
    schema = schemas.load(ws.schema, ws.config.data)
    parent, champion = now.challenger, now.champion or now.challenger
    parent_folder = registry.download(parent) if parent else None
    champion_folder = registry.download(champion) if champion else None
    features = schema.feature_spec()
    rows = measuring.deal(ws, features, experience)
    spec = training.grown(
        features,
        packaging.labels_in(parent_folder) if parent_folder else (),
        rows.frame[schema.target.name].to_numpy(),
        schema.max_classes,
    )
    found = step(arrival.drift_of, name="look for drift")(ws, spec, rows, champion_folder)
    return _Lesson(experience, features, spec, rows, parent_folder, champion_folder, found)


def _moved(lesson: _Lesson, shown: Arrival, change: Change) -> Learned:
    """The arriving experience moved the model, or is broken: nothing was learned from it yet."""
    reasons = tuple(f"{e.action}: {e.reason}" for e in change.events if e.reason)
    prefect_engine.report(measuring.arrival_markdown(shown, reasons, lesson.drift), "learn")
    held = shown.action == "held"
    return Learned(
        experience=lesson.experience.id,
        version=None,
        verdict="refused" if held else "postponed",
        reasons=change.hold[-1].reasons if held else reasons,
        promoted=False,
        prequential=None,
        average=None,
        forgetting=None,
        arrival=shown,
        drift=lesson.drift,
    )


def _candidate(
    ws: Workspace,
    registry: Registry,
    now: Registered,
    lesson: _Lesson,
    shown: Arrival | None,
    folder: Path,
    profile: Path | None,
) -> tuple[Version, Evaluation]:
    """The version that learning the experience gives, registered, and its numbers."""
    parent, experience, rows, spec = now.challenger, lesson.experience, lesson.rows, lesson.spec
    parent_folder, champion_folder = lesson.parent, lesson.champion
    before = step(measuring.prequential, name="prequential")(ws, spec, rows, champion_folder)

    key = training.learning_key(parent, experience, spec, ws.config, ws.root)
    if known := registry.find(key):
        logger.info(
            "%s was learned already, as version %s: it is judged again",
            experience.id,
            known.version,
        )
        learner = registry.download(known) / packaging.LEARNER
        numbers, _ = step(measuring.evaluate, name="evaluate")(
            ws, spec, rows, learner, champion_folder, parent_folder, before
        )
        return known, _with_arrival(ws, numbers, lesson, shown)

    learner = folder / "version" / packaging.LEARNER
    candidate = step(training.train, name="train")(
        ws,
        spec,
        parent_folder and parent_folder / packaging.LEARNER,
        experience.id,
        rows.frame,
        rows.sides,
        learner,
        profile,
    )
    numbers, measured_on = step(measuring.evaluate, name="evaluate")(
        ws, spec, rows, learner, champion_folder, parent_folder, before
    )
    numbers = _with_arrival(ws, numbers, lesson, shown)
    version = folder / "version"
    step(packaging.package, name="package")(ws, learner, measured_on, numbers, version)
    registered = step(registry.register, name="register", retries=2)(
        version,
        learning_key=key,
        parent=parent.version if parent else None,
        experience=experience.id,
        weights_sha256=candidate.weights_sha256,
        state_sha256=candidate.state_sha256,
        cursor=candidate.cursor,
        data=data_revision(ws),
        code=git.head(ws.root),
        strategy=tuple(strategy.name for strategy in ws.config.training.strategies),
        evaluation=numbers,
        trained=candidate.trained,
        verdict=gates.judge(numbers, ws.config.gates),
        figures=_figures(numbers, candidate.trained, folder),
        profile=profile,
    )
    return registered, numbers


def _with_arrival(
    ws: Workspace, numbers: Evaluation, lesson: _Lesson, shown: Arrival | None
) -> Evaluation:
    """The numbers with what the experience showed before it was learned."""
    earlier = packaging.drift_history_in(lesson.parent) if lesson.parent else ()
    window = ws.config.evaluation.window
    history = drift.extend(earlier, lesson.experience.id, lesson.drift, window)
    return replace(numbers, drift=lesson.drift, arrival=shown, drift_history=history)


def _figures(numbers: Evaluation, trained: Trained, folder: Path) -> dict[str, Path]:
    found = {
        "matrix": figures.matrix(numbers.matrix, folder / "matrix.png"),
        "training": figures.curves(trained, folder / "training.png"),
    }
    if numbers.drift_history:
        found["drift"] = figures.drift(numbers.drift_history, folder / "drift.png")
    return found
