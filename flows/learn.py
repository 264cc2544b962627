"""Learn one experience: a transaction on the learner.

The registry is the checkpoint. Whatever is cut short here is found by its learning key, and
done again from there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from perdure.config import Workspace
from perdure.errors import DataRefused
from perdure.flows import arrival, decisions, measuring
from perdure.flows.ingest import data_revision
from perdure.flows.opening import open_to_learn
from perdure.flows.pending import get
from perdure.orchestration import engine
from perdure.orchestration.engine import flow, step
from perdure.orchestration.run_log import note
from perdure.reading.rules import Rules
from perdure.records import (
    Arrival,
    Change,
    Drift,
    Evaluation,
    Experience,
    Learned,
    Lineage,
    Registered,
    Trained,
    Version,
)
from perdure.tasks import drift, figures, gates, git, packaging, trained, training
from perdure.tasks.registry import Registry
from perdure.tasks.tables import schema as schemas
from perdure.workspace import actor, scratch

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
    ws = open_to_learn(workspace)
    registry = Registry(ws)
    now = registry.read()
    with scratch(ws) as folder:
        try:
            found = get(ws, experience)
            lesson = _lesson(ws, registry, now, found)
            shown, measured = now.tournament.latest, None
            if arrival.is_news(now, found):
                shown, change = step(arrival.arrive, name="measure who might serve")(
                    ws, registry, now, found, lesson.schema, lesson.rows, lesson.drift, actor()
                )
                step(registry.apply, name="keep the evidence", retries=2)(change)
                if shown.action != "none":
                    return _moved(ws, lesson, shown, change)
                measured, now = shown, registry.read()
            if shown is not None and shown.experience != experience:
                shown = None
            version, evaluation = _candidate(
                ws, registry, now, lesson, shown, folder, Path(profile) if profile else None
            )
        except DataRefused as refusal:
            step(registry.apply, name="hold the experience", retries=2)(
                decisions.unlearnable(experience, refusal.message, actor())
            )
            return Learned(experience, None, "refused", (refusal.message,), False, None, None, None)
        verdict = gates.judge(evaluation, ws.config.gates)
        automatic = ws.config.promotion.automatic
        change = (
            decisions.passed(now, version, verdict, automatic, actor(), ws.config.tournament)
            if verdict.passed
            else decisions.refused(now, version, verdict, actor())
        )
        what = "promote" if verdict.passed else "hold the experience"
        step(registry.apply, name=what, retries=2)(change)
    metric = ws.config.metric
    note(
        f"{experience}: version {version.version} learned, {verdict.answer} by the gates; {metric} "
        f"{evaluation.candidate.average[metric]:.4f} on {evaluation.rows:,} test rows"
        + "".join(f"; {reason}" for reason in verdict.refusals)
    )
    page = measuring.markdown(experience, version.version, evaluation, verdict)
    engine.report(ws, "learn", page, f"{experience}: what each gate found")
    return Learned(
        experience=experience,
        version=version.version,
        verdict=verdict.answer,
        reasons=verdict.refusals,
        promoted=verdict.passed and automatic,
        prequential=evaluation.prequential,
        average=evaluation.candidate.average,
        forgetting=evaluation.forgetting,
        rows=evaluation.rows,
        contender=decisions.tried(change, version),
        settings=gates.settings(verdict),
        arrival=measured,
        drift=evaluation.drift,
    )


@dataclass(frozen=True, eq=False)
class _Lesson:
    """An experience's rows, and the models that stand."""

    experience: Experience
    schema: FeatureSpec
    """The features and the target, with the schema's labels."""
    rules: Mapping[str, Rules]
    """What the schema asks of each feature's values."""
    spec: FeatureSpec
    """`schema` with the labels of the challenger and the experience."""
    rows: measuring.Rows
    parent: Path | None
    """Version folder of the challenger."""
    champion: Path | None
    compared: Path | None
    """Version folder of the model that the gates compare with."""
    drift: Drift | None


def _lesson(ws: Workspace, registry: Registry, now: Registered, experience: Experience) -> _Lesson:
    schema = schemas.load(ws.schema, ws.config.data)
    parent, champion = now.challenger, now.champion or now.challenger
    parent_folder = registry.download(parent) if parent else None
    champion_folder = registry.download(champion) if champion else None
    compared = decisions.compared_with(now)
    compared_folder = registry.download(compared) if compared else None
    features = schema.feature_spec()
    rows = measuring.split_rows(ws, features, experience)
    spec = training.grown(
        features,
        packaging.labels_in(parent_folder) if parent_folder else (),
        rows.frame[schema.target.name].to_numpy(),
        schema.max_classes,
    )
    found = step(arrival.drift_of, name="look for drift")(ws, spec, rows, champion_folder)
    return _Lesson(
        experience,
        features,
        schemas.rules_of_features(schema),
        spec,
        rows,
        parent_folder,
        champion_folder,
        compared_folder,
        found,
    )


def _moved(ws: Workspace, lesson: _Lesson, shown: Arrival, change: Change) -> Learned:
    """The arriving experience moved the model, or is broken: nothing was learned from it yet."""
    reasons = tuple(f"{e.action}: {e.reason}" for e in change.events if e.reason)
    page = measuring.arrival_markdown(shown, reasons, lesson.drift)
    engine.report(ws, "learn", page, f"{shown.experience}: what it showed on arrival")
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
    parent_folder, compared = lesson.parent, lesson.compared
    before = step(measuring.prequential, name="prequential")(ws, spec, rows, lesson.champion)

    key = training.learning_key(parent, experience, spec, ws.config, ws.root)
    if known := registry.find(key):
        logger.info(
            "%s was learned already, as version %s: it is judged again",
            experience.id,
            known.version,
        )
        trained.clear(ws)
        learner = registry.download(known) / packaging.LEARNER
        numbers, _ = step(measuring.evaluate, name="evaluate")(
            ws, spec, rows, learner, compared, parent_folder, before
        )
        return known, _with_arrival(ws, numbers, lesson, shown)

    kept = trained.folder_of(ws, key)
    version = kept / "version"
    learner = version / packaging.LEARNER
    candidate = trained.find(kept, learner)
    if candidate is None:
        candidate = step(training.train, name="train")(
            ws,
            spec,
            parent_folder and parent_folder / packaging.LEARNER,
            experience.id,
            rows.frame,
            rows.splits,
            learner,
            profile,
        )
        trained.keep(kept, candidate)
    else:
        logger.info(
            "%s: trained already by an earlier try, which ended before it was registered; "
            "registering that",
            experience.id,
        )
    numbers, measured_on = step(measuring.evaluate, name="evaluate")(
        ws, spec, rows, learner, compared, parent_folder, before
    )
    numbers = _with_arrival(ws, numbers, lesson, shown)
    step(packaging.package, name="package")(
        ws, learner, measured_on, numbers, version, lesson.rules
    )
    registered = step(registry.register, name="register", retries=2)(
        version,
        Lineage(
            learning_key=key,
            parent=parent.version if parent else None,
            experience=experience.id,
            weights_sha256=candidate.weights_sha256,
            state_sha256=candidate.state_sha256,
            cursor=candidate.cursor,
            data=data_revision(ws),
            code=git.head(ws.root),
            strategy=tuple(strategy.name for strategy in ws.config.training.strategies),
            configuration=training.configuration(ws.config, ws.root),
            processes=training.processes(ws.config),
        ),
        numbers,
        candidate.trained,
        verdict=gates.judge(numbers, ws.config.gates),
        figures=_figures(numbers, candidate.trained, folder),
        profile=profile,
    )
    registry.keep(version, registered)
    trained.clear(ws)
    return registered, numbers


def _with_arrival(
    ws: Workspace, numbers: Evaluation, lesson: _Lesson, shown: Arrival | None
) -> Evaluation:
    """The numbers with what the experience showed before it was learned."""
    earlier = packaging.drift_history_in(lesson.parent) if lesson.parent else ()
    window = ws.config.evaluation.window
    history = drift.extend(earlier, lesson.experience.id, lesson.drift, window)
    return replace(numbers, drift=lesson.drift, arrival=shown, drift_history=history)


def _figures(numbers: Evaluation, training_log: Trained, folder: Path) -> dict[str, Path]:
    found = {
        "matrix": figures.matrix(numbers.matrix, folder / "matrix.png"),
        "training": figures.curves(training_log, folder / "training.png"),
    }
    if numbers.drift_history:
        found["drift"] = figures.drift(numbers.drift_history, folder / "drift.png")
    return found
