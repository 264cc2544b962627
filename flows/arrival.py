"""What an arriving experience shows before anything learns from it: drift, and evidence.

Its rows are new to every version that might serve. So they measure the champion, and beside it the
version that it replaced, the anchor and the contenders, on the same rows.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure.config import LOWER_IS_BETTER, Config, Workspace
from perdure.errors import ConfigError, Corrupt, UsageError
from perdure.flows import decisions, tournament
from perdure.flows.measuring import Rows
from perdure.records import (
    Arrival,
    Change,
    Drift,
    Entrant,
    Event,
    Experience,
    Held,
    Registered,
    Role,
    Standing,
    Tournament,
    Version,
)
from perdure.tasks import drift, evaluation, evidence, packaging, training
from perdure.tasks.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from perdure.strategies.features.columns import FeatureSpec

logger = logging.getLogger("perdure")

FELL = 0.10
"""A metric has fallen if it is lower by more than this on the arriving rows than on the champion's
test rows, and by more than chance; of an error, by this share of it."""
CHANCE = 3.0
"""Standard errors that are put down to chance: once in seven hundred arrivals."""


@dataclass(frozen=True)
class Measured:
    """The arriving rows, as every version that takes part predicts them."""

    truth: NDArray[Any]
    outputs: Mapping[int, NDArray[np.floating[Any]]]
    """By version: `(rows, classes)` or `(rows,)`; of those that have not learned the experience."""


def is_news(now: Registered, experience: Experience) -> bool:
    """Whether the experience has not given evidence yet, and there is something to measure."""
    return now.challenger is not None and experience.number > now.tournament.measured


def drift_of(ws: Workspace, spec: FeatureSpec, rows: Rows, champion: Path | None) -> Drift | None:
    """How far the arriving rows are from those that the champion has learned from.

    Args:
        ws: The workspace.
        spec: The features and the target.
        rows: The arriving experience.
        champion: Its version folder; None: there is none.

    Returns:
        None: there is nothing to compare with, or `drift.false_alarms` is `false`.
    """
    if champion is None or ws.config.drift.false_alarms is False:
        return None
    return drift.measure(
        packaging.rows_in(champion),
        rows.frame,
        # Time always moves on.
        [(column.name, column.kind) for column in spec.columns if column.kind != "time"],
        ws.config.drift,
        owner=evaluation.EXPERIENCE,
        target=(spec.target, spec.task),
        statistics=training.statistics(ws, champion / packaging.LEARNER),
        vocabulary={c.name: c.categories for c in spec.columns if c.categories},
    )


def arrive(
    ws: Workspace,
    registry: Registry,
    now: Registered,
    experience: Experience,
    spec: FeatureSpec,
    rows: Rows,
    found: Drift | None,
    by: str,
) -> tuple[Arrival, Change]:
    """Measure everyone on an arriving experience, and decide what follows.

    Args:
        ws: The workspace.
        registry: Where the versions are.
        now: What stands.
        experience: The experience; it is news.
        spec: The features and the target, with the schema's labels.
        rows: Its rows.
        found: Its drift.
        by: Who acts.

    Returns:
        What it showed, and the change of the registry: at least the evidence.
    """
    state = tournament.begin(now.tournament, now, going_back=ws.config.promotion.goes_back)
    versions = _versions(registry, now, state)
    gone = [e.version for e in state.of("predecessor") if e.version not in versions]
    state = tournament.without(state, gone)
    measured = _measure(ws, registry, now, versions, experience.id, spec, rows)
    expected = None
    if now.champion is not None:
        average = registry.evaluation(now.champion)["candidate"]["average"]
        expected = average.get(ws.config.metric)
    return weigh(ws.config, now, state, experience, measured, versions, found, expected, by)


def weigh(
    config: Config,
    now: Registered,
    state: Tournament,
    experience: Experience,
    measured: Measured,
    versions: Mapping[int, Version],
    found: Drift | None,
    expected: float | None,
    by: str,
) -> tuple[Arrival, Change]:
    """Decide what follows from what everyone predicts. No outside system.

    Args:
        config: Metric, confidence, margins, promotion.
        now: What stands.
        state: The entrants, as `tournament.begin` gives them.
        experience: The experience.
        measured: Its truth, and what each version predicts.
        versions: Every version that takes part, by number.
        found: Its drift.
        expected: The champion's metric on its own test rows; None: it is not known.
        by: Who acts.
    """
    champion, challenger = now.champion, now.challenger
    assert challenger is not None
    incumbents: dict[Role, int] = {"contender": challenger.version}
    if champion is not None:
        incumbents |= {"predecessor": champion.version, "anchor": champion.version}
    # What is broken is no measure of anyone.
    broken = found is not None and found.level == "broken" and config.drift.broken == "hold"
    task, count = config.data.task, len(measured.truth)
    spread = float(measured.truth.std()) if task == "regression" else 1.0
    losses = {} if broken else {
        number: evidence.losses(task, config.metric, measured.truth, outputs, spread)
        for number, outputs in measured.outputs.items()
    }  # fmt: skip
    alpha = 1.0 - config.gates.confidence
    outcome = tournament.measured(
        state,
        experience.number,
        losses,
        incumbents,
        config.tournament,
        alpha,
        going_back=config.promotion.goes_back,
        constant=_constant(config, measured, spread),
    )
    values = {
        number: value
        for number, outputs in measured.outputs.items()
        # The r2 of rows that do not vary is not a number, and JSON has no word for it.
        if math.isfinite(value := evaluation.score(task, measured.truth, outputs)[config.metric])
    }
    winner = versions[outcome.winner.version] if outcome.winner else None
    held = None
    if broken and found is not None:
        held = Held(
            experience.id, (f"broken: {'; '.join(found.reasons)}",), decisions.utc_now(), by
        )
    arrival = Arrival(
        experience=experience.id,
        rows=count,
        champion=champion.version if champion else None,
        champion_value=values.get(champion.version) if champion else None,
        standings=tuple(
            _standing(one, incumbents, losses, values) for one in outcome.state.entrants
        ),
        action=_action(outcome, held),
        version=winner.version if winner else None,
        let_go=tuple(entrant.version for entrant, _ in outcome.let_go),
        reasons=tuple(why for _, why in outcome.let_go),
    )
    fell = () if broken else _fell(config.metric, experience, champion, values, count, expected, by)
    change = decisions.arrived(
        now,
        arrival,
        outcome,
        winner,
        by,
        automatic=config.promotion.automatic,
        notices=(*_drifted(experience, found, by), *fell),
        held=held,
    )
    return arrival, change


def _constant(config: Config, measured: Measured, spread: float) -> float:
    """Mean loss of always predicting the most frequent class, or the mean, of the rows."""
    task, truth = config.data.task, measured.truth
    first = next(iter(measured.outputs.values()))
    classes = first.shape[1] if task == "classification" else 0
    guess = evaluation.constant(task, truth, classes)
    return float(evidence.losses(task, config.metric, truth, guess, spread).mean())


def _action(outcome: tournament.Outcome, held: Held | None) -> Any:
    if held is not None:
        return "held"
    if outcome.winner is None:
        return "none"
    return "promoted" if outcome.winner.role == "contender" else "rolled back"


def _versions(registry: Registry, now: Registered, state: Tournament) -> dict[int, Version]:
    """Every version that takes part, by number."""
    known = {v.version: v for v in (now.champion, now.challenger) if v is not None}
    known |= now.entrants
    for entrant in state.entrants:
        if entrant.version not in known:
            try:
                known[entrant.version] = registry.version(entrant.version)
            except (UsageError, Corrupt) as error:
                # A predecessor that was removed is so on every arrival.
                gone = entrant.role == "predecessor" and isinstance(error, UsageError)
                level = logging.INFO if gone else logging.WARNING
                logger.log(level, "Version %d is not measured: %s", entrant.version, error.message)
    return known


def _measure(
    ws: Workspace,
    registry: Registry,
    now: Registered,
    versions: Mapping[int, Version],
    experience: str,
    spec: FeatureSpec,
    rows: Rows,
) -> Measured:
    """Predict the rows with every version that has not learned them."""
    serving = {v.version for v in (now.champion, now.challenger) if v is not None}
    folders: dict[int, Path] = {}
    for number, version in versions.items():
        if experience in version.cursor:
            continue
        try:
            folders[number] = registry.download(version)
        except Corrupt as error:
            if number in serving:
                raise
            logger.warning("Version %d is not measured: %s", number, error.message)
    known = dict.fromkeys(
        label for folder in folders.values() for label in packaging.labels_in(folder)
    )
    whole = training.grown(spec, tuple(known), rows.frame[spec.target].to_numpy())
    found = {}
    for number, folder in folders.items():
        try:
            found[number] = training.outputs(ws, whole, folder / packaging.LEARNER, rows.frame)
        except (ConfigError, Corrupt) as error:
            if number in serving:
                raise
            logger.warning("Version %d is not measured: %s", number, error.message)
    return Measured(training.truth(whole, rows.frame), found)


def _standing(
    entrant: Entrant,
    incumbents: Mapping[Role, int],
    losses: Mapping[int, NDArray[np.float64]],
    values: Mapping[int, float],
) -> Standing:
    incumbent = incumbents.get(entrant.role)
    measured = {entrant.version, incumbent} <= losses.keys() and incumbent != entrant.version
    return Standing(
        version=entrant.version,
        role=entrant.role,
        measured=measured,
        loss=float(losses[entrant.version].mean()) if measured else None,
        incumbent_loss=float(losses[incumbent].mean()) if measured and incumbent else None,
        value=values.get(entrant.version),
        evidence=entrant.better.e_value,
        against=entrant.worse.e_value,
        rows=entrant.better.rows,
        experiences=entrant.better.experiences,
    )


def _drifted(experience: Experience, found: Drift | None, by: str) -> tuple[Event, ...]:
    if found is None or found.level == "as ever":
        return ()
    reason = f"{found.level}: " + "; ".join(found.reasons)
    return (Event(decisions.utc_now(), "drifted", experience=experience.id, reason=reason, by=by),)


def _fell(
    metric: str,
    experience: Experience,
    champion: Version | None,
    values: Mapping[int, float],
    rows: int,
    expected: float | None,
    by: str,
) -> tuple[Event, ...]:
    """An event, if the champion's metric is lower than on its own test rows, beyond chance."""
    if champion is None or champion.version not in values or expected is None:
        return ()
    found = values[champion.version]
    if metric in LOWER_IS_BETTER:
        fell = found > expected * (1.0 + FELL + CHANCE / rows**0.5)
    else:
        chance = CHANCE * (max(expected * (1.0 - expected), 0.01) / rows) ** 0.5
        fell = expected - found > max(FELL, chance)
    if not fell:
        return ()
    reason = (
        f"{metric} of the champion {found:.3f} on {rows:,} arriving rows, "
        f"{expected:.3f} on its test rows"
    )
    return (
        Event(
            decisions.utc_now(),
            "metric fell",
            version=champion.version,
            experience=experience.id,
            reason=reason,
            by=by,
        ),
    )
